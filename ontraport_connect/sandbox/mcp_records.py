"""The MCP tools that read, count and write records, on the same records as REST."""

from __future__ import annotations

from typing import Any

from . import queries, rest_objects, tagging
from .messages import Refused, not_here
from .object_types import CONTACT, OF_COMMERCE, TYPES
from .records import Records
from .tool import LIST, NUMBER, OBJECT, PAGE, TEXT, Arguments, Tool

OBJECT_TYPE = {**NUMBER, "description": 'The object type; contacts are "0".', "default": "0"}
CRITERIA = {
    "objectID": OBJECT_TYPE,
    "id": {**NUMBER, "description": "The number of one record."},
    "ids": {**LIST, "description": "The numbers of several records."},
    "condition": {
        **LIST,
        "description": 'Rules {"field": {"field": "city"}, "op": "=", "value": {"value": "Oban"}}, joined by "AND" or "OR".',
    },
    "search": {**TEXT, "description": "Text to look for in every field."},
}
PAGING = {
    **PAGE,
    "sort": {**TEXT, "description": "The field to sort by."},
    "sortDir": {"type": "string", "enum": ["asc", "desc"]},
    "listFields": {**LIST, "description": "The fields to return."},
}
WRITTEN = {"objectID": OBJECT_TYPE, "fields": {**OBJECT, "description": "The fields to set, by their names."}}
DEFAULT = {"objectID": CONTACT.object_id}


def get_account_info(records: Records, arguments: Arguments) -> dict[str, Any]:
    account = records.account
    return {"account_id": account.account_id, "name": account.name, "timezone": account.time_zone}


def list_allowed_object_types(records: Records, arguments: Arguments) -> dict[str, Any]:
    return {
        "object_types": [{"objectID": kind.object_id, "name": kind.names[0], "plural": kind.names[1]} for kind in TYPES]
    }


def get_object_meta(records: Records, arguments: Arguments) -> dict[str, Any]:
    return dict(rest_objects.get_meta(records, {**DEFAULT, **arguments})["data"])


def get_objects(records: Records, arguments: Arguments) -> dict[str, Any]:
    asked = {**DEFAULT, **arguments}
    kind = queries.kind_of(asked)
    found = queries.select(records, kind, asked)
    return {
        "data": queries.arranged(kind, found, asked),
        "start": queries.number_in(asked, "start", 0),
        "count": len(found),
    }


def count_objects(records: Records, arguments: Arguments) -> dict[str, Any]:
    asked = {**DEFAULT, **arguments}
    return {"count": len(queries.select(records, queries.kind_of(asked), asked))}


def _written(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters of a write as REST has them. Raises ``Refused`` for what only the tools of commerce write."""
    asked = {**DEFAULT, **arguments}
    kind, fields = queries.kind_of(asked), asked.get("fields", {})
    if kind.object_id in OF_COMMERCE:
        raise Refused(403, f"{kind.names[1]} are written by the commerce tools only.")
    if not {"id", "objectID"}.isdisjoint(fields):
        raise not_here("id or objectID inside fields: they are arguments beside it")
    return {**fields, **{name: asked[name] for name in ("objectID", "id") if name in asked}}


def create_object(records: Records, arguments: Arguments) -> dict[str, Any]:
    return dict(rest_objects.create(records, _written(arguments)))


def update_object(records: Records, arguments: Arguments) -> dict[str, Any]:
    return dict(rest_objects.update(records, _written(arguments)))


def saveorupdate_object(records: Records, arguments: Arguments) -> dict[str, Any]:
    return dict(rest_objects.save_or_update(records, _written(arguments)))


def delete_object(records: Records, arguments: Arguments) -> dict[str, Any]:
    asked = _written(arguments)
    rest_objects.delete_one(records, asked)
    return {"deleted": 1}


def delete_objects(records: Records, arguments: Arguments) -> dict[str, Any]:
    """Delete by numbers or a condition. A request to delete all is ignored, as Ontraport says of its own server."""
    asked = {**DEFAULT, **arguments}
    kind = queries.kind_of(_written({"objectID": asked["objectID"]}))
    if not any(asked.get(name) for name in ("ids", "condition")):
        return {"deleted": 0}
    found = queries.select(records, kind, asked)
    return {"deleted": records.delete(kind, [record[kind.key] for record in found])}


def manage_tags(records: Records, arguments: Arguments) -> dict[str, Any]:
    """Add and remove tags by number or name."""
    asked = {**DEFAULT, **arguments}
    kind = queries.kind_of(asked)
    tagging.require_taggable(kind)
    add, remove = (queries.members(asked.get(name, []), name) for name in ("add", "remove"))
    contacts = [records.get(kind, number) for number in queries.members(asked["ids"], "ids")]
    added = _tags(records, add, make=True)
    tagging.put_on(records, contacts, added)
    removed = _tags(records, remove, make=False)
    tagging.take_off(records, contacts, removed)
    return {"records": len(contacts), "added": len(added), "removed": len(removed)}


def _tags(records: Records, given: list[str], *, make: bool) -> list[str]:
    numbers = [each for each in given if each.isdecimal()]
    if numbers:
        tagging.require_tags(records, numbers)
    return numbers + tagging.numbers_of(records, (each for each in given if not each.isdecimal()), make=make)


def get_subscribers(records: Records, arguments: Arguments) -> dict[str, Any]:
    number = str(arguments["tag_id"])
    tagging.require_tags(records, [number])
    found = tagging.tagged(records, number)
    return {"data": queries.arranged(CONTACT, found, arguments), "count": len(found)}


ONE = {"objectID": OBJECT_TYPE, "id": NUMBER}

TOOLS = (
    Tool(name="get_account_info", about="The account's number, name and time zone.", call=get_account_info, reads=True),
    Tool(
        name="list_allowed_object_types",
        about="The object types that you may use.",
        call=list_allowed_object_types,
        reads=True,
    ),
    Tool(
        name="get_objects",
        about="Records by number, list of numbers, condition or search.",
        call=get_objects,
        arguments=CRITERIA | PAGING,
        reads=True,
    ),
    Tool(
        name="count_objects",
        about="How many records meet the criteria.",
        call=count_objects,
        arguments=CRITERIA,
        reads=True,
    ),
    Tool(
        name="get_object_meta",
        about="The fields of a kind of record.",
        call=get_object_meta,
        arguments={"objectID": OBJECT_TYPE},
        reads=True,
    ),
    Tool(
        name="create_object",
        about="Make a new record.",
        call=create_object,
        arguments=WRITTEN,
        required=("fields",),
    ),
    Tool(
        name="update_object",
        about="Change a record.",
        call=update_object,
        arguments=WRITTEN | {"id": NUMBER},
        required=("id", "fields"),
    ),
    Tool(
        name="saveorupdate_object",
        about="Change the contact with this e-mail address, or make one.",
        call=saveorupdate_object,
        arguments=WRITTEN | {"id": NUMBER},
        required=("fields",),
    ),
    Tool(
        name="delete_object",
        about="Delete a record.",
        call=delete_object,
        arguments=ONE,
        required=("id",),
        destroys=True,
    ),
    Tool(
        name="delete_objects",
        about="Delete records by numbers or a condition; a request to delete all is ignored.",
        call=delete_objects,
        arguments={name: CRITERIA[name] for name in ("objectID", "ids", "condition")},
        destroys=True,
    ),
    Tool(
        name="manage_tags",
        about="Add tags to contacts and remove them, by number or name.",
        call=manage_tags,
        arguments={"objectID": OBJECT_TYPE, "ids": LIST, "add": LIST, "remove": LIST},
        required=("ids",),
    ),
    Tool(
        name="get_subscribers",
        about="The contacts that have a tag.",
        call=get_subscribers,
        arguments={"tag_id": NUMBER, **PAGING},
        required=("tag_id",),
        reads=True,
    ),
)
