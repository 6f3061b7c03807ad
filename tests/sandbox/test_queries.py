"""What a query finds: conditions, numbers by value, sorting, pages, fields, and refusals of what would be answered wrongly."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.stand_in import Caller


def rule(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": {"field": field}, "op": op, "value": value if isinstance(value, dict) else {"value": value}}


def found(caller: Caller, condition: Any, **more: Any) -> list[str]:
    query = urlencode({"objectID": 0, "condition": json.dumps(condition), **more})
    return [contact["id"] for contact in caller.data("GET", f"objects?{query}")]


def many(*values: Any) -> dict[str, Any]:
    return {"list": [{"value": value} for value in values]}


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ([rule("id", ">", "19")], ["20", "21"]),
        ([rule("id", "<", 3)], ["1", "2"]),
        ([rule("id", ">=", "9"), "and", rule("id", "<=", "10")], ["9", "10"]),
        ([rule("id", "=", "07")], ["7"]),
        ([rule("city", "=", "KYOTO")], ["4"]),
        ([rule("country", "<>", "GB"), "AND", rule("id", "<", "6")], ["1", "2", "3", "4"]),
        ([rule("country", "!=", "GB"), "AND", rule("id", "IN", many(4, "5"))], ["4"]),
        ([rule("id", "NOT IN", many(*range(3, 22)))], ["1", "2"]),
        ([rule("firstname", "LIKE", "m%")], ["4", "11"]),
        ([rule("firstname", "LIKE", "me_")], ["4"]),
        ([rule("firstname", "LIKE", "e")], []),
        ([rule("office_phone", "IS", "NULL"), "AND", rule("id", "<", 2)], ["1"]),
        ([rule("email", "IS NOT", {"value": "EMPTY"}), "AND", rule("id", "<", 2)], ["1"]),
        ([rule("email", "IS", "EMPTY")], []),
        ([[rule("country", "=", "SE"), "or", rule("country", "=", "JP")], "and", rule("id", ">", 3)], ["4"]),
        ([rule("f1000", ">", 235)], ["20"]),
    ],
)
def test_conditions(caller: Caller, condition: Any, ids: list[str]) -> None:
    assert found(caller, condition) == ids


def nested(depth: int) -> Any:
    condition: Any = [rule("id", "=", 1)]
    for _ in range(depth):
        condition = [condition]
    return condition


@pytest.mark.parametrize(
    ("condition", "status", "text"),
    [
        ("{", 400, "It is not JSON."),
        ("{}", 400, "It is a list of rules."),
        ([1], 400, "A rule is"),
        ([[]], 400, "A rule is"),
        ([rule("id", "=", 1), rule("id", "=", 2)], 400, "joined"),
        ([rule("id", "=", 1), "XOR", rule("id", "=", 2)], 400, "joined"),
        (
            [rule("id", "=", 1), "AND", rule("id", "=", 2), "OR", rule("id", "=", 3)],
            501,
            "put one of them into a group",
        ),
        ([rule("nickname", "=", 1)], 501, "field nickname in Contacts"),
        ([rule("id", "~", 1)], 501, "operator ~"),
        ([rule("id", "<", "ten")], 400, "ten is not a number"),
        ([rule("id", "=", True)], 400, "A value is"),
        ([rule("id", "IN", 1)], 400, "IN takes"),
        ([{"field": {"field": "id"}, "op": "="}], 400, "A value is"),
        (nested(30), 400, "nested too deeply"),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused(caller: Caller, condition: Any, status: int, text: str) -> None:
    sent = condition if isinstance(condition, str) else json.dumps(condition)
    said = caller.refusal("GET", f"objects?{urlencode({'objectID': 0, 'condition': sent})}")
    assert (said[0], text in said[1]) == (status, True), said


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("sort=id&sortDir=desc&range=2", ["21", "20"]),
        ("sort=id&range=3&start=8", ["9", "10", "11"]),
        ("sort=lastname&range=2", ["16", "17"]),
        ("sort=dlm&sortDir=DESC&range=1", ["21"]),
        ("ids=2,5", ["2", "5"]),
        ("ids=[3]", ["3"]),
        ("id=7", ["7"]),
        ("search=uppsala", ["3"]),
        ("start=21", []),
        ("range=0", []),
    ],
)
def test_sorted_pages(caller: Caller, query: str, ids: list[str]) -> None:
    assert [contact["id"] for contact in caller.data("GET", f"objects?objectID=0&{query}")] == ids


@pytest.mark.parametrize("fields", ["email,firstname", " email, firstname", '["email", "firstname"]'])
def test_the_fields_that_are_asked_for_and_the_id(caller: Caller, fields: str) -> None:
    query = urlencode({"range": "1", "listFields": fields})
    assert caller.data("GET", f"Contacts?{query}") == [
        {"id": "1", "firstname": "Amara", "email": "amara.okafor@example.com"}
    ]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("objectID=0&listFields={}", 400, "listFields must be a list."),
        ("objectID=0&listFields=[1", 400, "listFields must be a list."),
        ("objectID=0&listFields=[[1]]", 400, "listFields must be a list."),
        ("objectID=0&listFields=nickname", 400, "Contacts have no field nickname"),
        ("objectID=0&sort=nickname", 400, "Contacts have no field nickname"),
        ("objectID=0&sortDir=up", 400, "sortDir is asc or desc."),
        ("objectID=0&start=-1", 400, "start is a number, 0 or more."),
        ("objectID=0&range=ten", 400, "range is a number"),
        ("", 422, "Missing required parameter: objectID"),
        ("objectID=3", 501, "it has no object type 3"),
        ("objectID=0&group_id=5", 501, "no parameter group_id"),
    ],
)
def test_what_would_be_answered_wrongly_is_refused(caller: Caller, query: str, status: int, text: str) -> None:
    said = caller.refusal("GET", f"objects?{query}")
    assert (said[0], text in said[1]) == (status, True), said


def test_the_count_comes_along_as_text(caller: Caller) -> None:
    reply = caller.rest("GET", "objects?objectID=0&count=true&range=1&search=coffee")
    assert json.loads(reply.body) == {"code": 0, "data": [], "misc": [], "count": "0", "account_id": 187157}


def test_every_kind_has_a_name_a_number_and_fields(caller: Caller) -> None:
    meta = caller.data("GET", "objects/meta")
    assert {number: kind["name"] for number, kind in meta.items()} == {
        "0": "Contact",
        "1": "Task",
        "12": "Note",
        "14": "Tag",
        "16": "Product",
        "17": "Purchase",
        "44": "OpenOrder",
        "46": "Transaction",
    }
    assert meta["0"]["fields"]["email"] == {"alias": "Email", "type": "text", "required": "0", "unique": "1"}
    assert caller.data("GET", "objects/meta?objectID=14&format=byId").keys() == {"14"}
    assert caller.refusal("GET", "objects/meta?format=byName")[0] == 501
