"""What every MCP client is told to call, and the right answer to each on the records that the stand-in starts with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.clients.judging import Expected

NOT_HERE = "This is a stand-in for Ontraport, and it has no "
NOTHING_CHARGED = "No card was charged: this is a stand-in for Ontraport."


class Call(NamedTuple):
    request: str
    tool: str
    arguments: Mapping[str, Any]
    expected: Expected


def rule(name: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": {"field": name}, "op": operator, "value": {"value": value}}


def ids(*numbers: int) -> dict[str, Any]:
    return {"data": [{"id": str(number)} for number in numbers]}


ACCOUNT = Expected(answer={"account_id": 187157, "name": "Harbour Street Coffee"})
WHO = Call("get_account_info", "get_account_info", {}, ACCOUNT)

CALLS = (
    WHO,
    Call(
        "get_objects, id > 9, the last three",
        "get_objects",
        {"condition": [rule("id", ">", 9)], "sort": "id", "sortDir": "desc", "range": 3, "listFields": ["firstname"]},
        Expected(answer={"count": 12, "data": [{"firstname": name} for name in ("Eleni", "Camille", "Wiremu")]}),
    ),
    Call(
        "get_objects, city = La Rochelle",
        "get_objects",
        {"condition": [rule("city", "=", "La Rochelle")]},
        Expected(answer={"data": [{"id": "7", "firstname": "Étienne", "company": "Café du Port"}]}),
    ),
    Call(
        "get_objects, LIKE or IN",
        "get_objects",
        {
            "condition": [
                rule("email", "LIKE", "lucia%"),
                "OR",
                {"field": {"field": "id"}, "op": "IN", "value": {"list": [{"value": 4}, {"value": 5}]}},
            ]
        },
        Expected(answer=ids(2, 4, 5)),
    ),
    Call(
        "get_objects, a page past the end",
        "get_objects",
        {"start": 500, "range": 50},
        Expected(answer={"data": [], "count": 21}),
    ),
    Call("count_objects, search", "count_objects", {"search": "Lagos"}, Expected(answer={"count": 1})),
    Call(
        "create_object",
        "create_object",
        {"fields": {"firstname": "Noë", "email": "noe@example.com"}},
        Expected(answer={"data": {"id": "22", "firstname": "Noë"}}),
    ),
    Call(
        "update_object",
        "update_object",
        {"id": "22", "fields": {"city": "Alzira"}},
        Expected(answer={"data": {"attrs": {"id": "22", "city": "Alzira"}}}),
    ),
    Call(
        "saveorupdate_object, an address that is there",
        "saveorupdate_object",
        {"fields": {"email": "lucia@example.org", "company": "Sol"}},
        Expected(answer={"data": {"attrs": {"id": "2", "company": "Sol"}}}),
    ),
    Call(
        "manage_tags, a new name",
        "manage_tags",
        {"ids": ["22"], "add": ["VIP"]},
        Expected(answer={"records": 1, "added": 1, "removed": 0}),
    ),
    Call("get_subscribers of it", "get_subscribers", {"tag_id": "6"}, Expected(answer=ids(22))),
    Call(
        "process_transaction",
        "process_transaction",
        {"contact_id": 22, "products": [{"id": 2, "quantity": 2}]},
        Expected(answer={"data": {"contact_id": "22", "total": "13.00"}, "message": NOTHING_CHARGED}),
    ),
    Call("delete_object", "delete_object", {"id": 22}, Expected(answer={"deleted": 1})),
    Call("count_objects, after it", "count_objects", {}, Expected(answer={"count": 21})),
    Call(
        "update_object, a record that is gone",
        "update_object",
        {"id": 22, "fields": {"city": "Oban"}},
        Expected(refusal="Invalid Contact ID"),
    ),
    Call("a condition without sense", "get_objects", {"condition": ["XOR"]}, Expected(refusal="Invalid condition")),
    Call("more than a page", "get_objects", {"range": 60}, Expected(refusal="range is more than 50")),
    Call("a number for a text", "get_objects", {"search": 5}, Expected(refusal="search is no string")),
    Call(
        "a tag that nobody has made",
        "manage_tags",
        {"ids": ["2"], "remove": ["Unheard of"]},
        Expected(answer={"records": 1, "added": 0, "removed": 0}),
    ),
    Call(
        "an argument that is not here",
        "get_objects",
        {"group_ids": [7]},
        Expected(refusal=NOT_HERE + "argument group_ids"),
    ),
    Call("a tool that is not here", "get_groups", {}, Expected(refusal=NOT_HERE + "tool get_groups|Unknown tool")),
    Call("a tool that nobody has", "no_such_tool", {}, Expected(refusal="Unknown tool: no_such_tool")),
)
