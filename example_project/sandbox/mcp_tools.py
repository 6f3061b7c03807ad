"""Four of Ontraport's MCP tools: their names, their arguments, and what they do."""

from collections.abc import Callable
from typing import Any

from example_project.sandbox.accounts import Account
from example_project.sandbox.objects import InvalidQueryError as ToolError
from example_project.sandbox.objects import page, parse_number, select

__all__ = ["CALLABLE", "DESCRIPTIONS", "ToolError"]

Arguments = dict[str, Any]

OBJECT_TYPE = {"type": ["string", "integer"], "description": 'The object type; contacts are "0".', "default": "0"}
CRITERIA = {
    "objectID": OBJECT_TYPE,
    "id": {"type": ["string", "integer"], "description": "The id of one object."},
    "ids": {"type": "array", "items": {"type": ["string", "integer"]}, "description": "The ids of several objects."},
    "condition": {
        "type": "array",
        "items": {},
        "description": 'Rules {"field": {"field": "city"}, "op": "=", "value": {"value": "Oban"}}, "AND" or "OR".',
    },
    "search": {"type": "string", "description": "Text to look for in every field."},
}
PAGING = {
    "start": {"type": "integer", "minimum": 0, "default": 0, "description": "How many to leave out."},
    "range": {"type": "integer", "minimum": 1, "maximum": 50, "default": 50, "description": "How many to return."},
}


def get_account_info(account: Account, arguments: Arguments) -> Arguments:
    return {"account_id": account.account_id, "name": account.name, "timezone": account.time_zone}


def list_allowed_object_types(account: Account, arguments: Arguments) -> Arguments:
    return {"object_types": [{"objectID": "0", "name": "Contact", "plural": "Contacts"}]}


def get_objects(account: Account, arguments: Arguments) -> Arguments:
    selected = select(account, arguments)
    return {
        "data": page(selected, arguments),
        "start": parse_number(arguments, "start", 0),
        "count": len(selected),
    }


def count_objects(account: Account, arguments: Arguments) -> Arguments:
    return {"count": len(select(account, arguments))}


CALLABLE: dict[str, Callable[[Account, Arguments], Arguments]] = {
    "get_account_info": get_account_info,
    "list_allowed_object_types": list_allowed_object_types,
    "get_objects": get_objects,
    "count_objects": count_objects,
}


def described(name: str, title: str, description: str, properties: Arguments) -> Arguments:
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {"type": "object", "properties": properties},
        "annotations": {"readOnlyHint": True},
    }


DESCRIPTIONS = [
    described("get_account_info", "Account", "The account's number, name and time zone.", {}),
    described("list_allowed_object_types", "Object types", "The object types that you may use.", {}),
    described("get_objects", "Get objects", "Objects by id, list of ids, condition or search.", CRITERIA | PAGING),
    described("count_objects", "Count objects", "How many objects meet the criteria.", CRITERIA),
]
