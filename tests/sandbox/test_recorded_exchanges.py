"""What seven public clients of Ontraport send, and what they get: each request as a client has it, and the answer that it reads.

Written from the recorded exchanges of these clients, whose shapes the answers have. Nothing is wrong with status 200: what the stand-in
does not have is refused in words.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests.support.stand_in import Caller, holds


class Exchange(NamedTuple):
    """A request of a client, the status that it gets, and members of the envelope, or words of the refusal."""

    client: str
    method: str
    path: str
    sent: dict[str, Any] | None
    status: int
    answer: dict[str, Any] | str
    is_form: bool = False


ONE = [{"field": {"field": "email"}, "op": "=", "value": {"value": "lucia@example.org"}}]
LIST_OF = {"field": {"field": "id"}, "op": "IN", "value": {"list": [{"value": "2"}, {"value": "4"}]}}
PROCESSED = "The tag is now being processed."

EXCHANGES = [
    Exchange("SDK-PHP", "GET", "object?objectID=0&id=2", None, 200, {"data": {"id": "2", "firstname": "Lucía"}}),
    Exchange("SDK-PHP", "POST", "Contacts", {"email": "a@example.com"}, 200, {"data": {"id": "22"}}, is_form=True),
    Exchange("SDK-PHP", "PUT", "Contacts", {"id": "2", "city": "Alzira"}, 200, {"data": {"attrs": {"city": "Alzira"}}}),
    Exchange("SDK-PHP", "DELETE", "Contact?id=2", None, 200, {"account_id": 187157}),
    Exchange("SDK-PHP", "DELETE", "objects?objectID=0&ids=2,3", None, 200, {"data": "Deleted"}),
    Exchange("SDK-PHP", "PUT", "objects/tag", {"objectID": 0, "ids": "2", "add_list": "1"}, 200, {"data": PROCESSED}),
    Exchange("SDK-PHP", "GET", "Contacts/getInfo", None, 200, {"data": {"count": "21"}}),
    Exchange("SDK-PHP", "GET", "objects/meta?objectID=0", None, 200, {"data": {"0": {"name": "Contact"}}}),
    Exchange("SDK-PHP", "GET", "object/getByEmail?objectID=0&email=x@example.com", None, 404, "Object not found"),
    Exchange("SDK-PHP", "PUT", "objects/pause", {"objectID": 5, "ids": "1"}, 501, "no PUT /1/objects/pause"),
    Exchange("SDK-PHP", "POST", "task/cancel", {"object_id": 0, "ids": [1]}, 404, "Object not found"),
    Exchange("wallstreetio", "GET", "Contacts?sort=id&sortDir=desc&range=1", None, 200, {"data": [{"id": "21"}]}),
    Exchange("wallstreetio", "GET", f"Contacts?condition={json.dumps(ONE)}", None, 200, {"data": [{"id": "2"}]}),
    Exchange("wallstreetio", "GET", "Contacts?range=50&start=500", None, 200, {"data": [], "misc": []}),
    Exchange("isomx", "POST", "Contacts/saveorupdate", {"email": "b@example.com"}, 200, {"data": {"id": "22"}}),
    Exchange(
        "isomx",
        "POST",
        "Contacts/saveorupdate",
        {"email": "lucia@example.org", "company": "Sol"},
        200,
        {"data": {"attrs": {"id": "2", "company": "Sol"}}},
    ),
    Exchange(
        "isomx",
        "GET",
        f"objects?objectID=0&condition={json.dumps([LIST_OF])}",
        None,
        200,
        {"data": [{"id": "2"}, {"id": "4"}]},
    ),
    Exchange("OntraportJS", "GET", "Contacts?listFields=email&range=1", None, 200, {"data": [{"id": "1"}]}),
    Exchange("OntraportJS", "GET", "Contacts?ids=2&group_ids=7", None, 501, "no parameter group_ids"),
    Exchange("ontraport_api", "GET", "Products?search=coffee", None, 200, {"data": []}),
    Exchange("ontraport_api", "POST", "Tasks", {"contact_id": 2, "subject": "Call"}, 200, {"data": {"id": "1"}}),
    Exchange(
        "ontraport_api",
        "PUT",
        "objects/tagByName",
        {"objectID": 0, "ids": [2], "add_names": ["VIP"]},
        200,
        {"data": PROCESSED},
    ),
    Exchange(
        "ontraport-ruby",
        "GET",
        "objects?objectID=0&condition="
        + json.dumps([{"field": {"field": "email"}, "op": "LIKE", "value": {"value": "%@example.net"}}]),
        None,
        200,
        {"data": []},
    ),
    Exchange("ontraport-ruby", "GET", "objects/meta", None, 200, {"data": {"14": {"name": "Tag"}}}),
    Exchange("ontraport-ruby", "GET", "objects?objectID=0&condition=email%20=%20'x'", None, 400, "Invalid condition."),
    Exchange("Mcp-server", "GET", "objects?objectID=0&count=true&range=1", None, 200, {"count": "21"}),
    Exchange("Mcp-server", "GET", "Webhooks", None, 501, "no GET /1/Webhooks"),
    Exchange("Mcp-server", "PUT", "Contacts", {"id": 999, "city": "x"}, 404, "Invalid Contact ID"),
    Exchange(
        "Mcp-server",
        "POST",
        "transaction/processManual",
        {"contact_id": 2, "chargeNow": "chargeLog", "offer": {"products": [{"id": 2, "quantity": 1}]}},
        200,
        {"data": {"result_code": 1, "invoice_id": 1}},
    ),
]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda each: f"{each.client} {each.method} {each.path[:40]}")
def test_a_public_client_gets_what_it_reads_or_a_reason(caller: Caller, exchange: Exchange) -> None:
    body, form = (None, exchange.sent) if exchange.is_form else (exchange.sent, None)
    reply = caller.rest(exchange.method, exchange.path, body, form=form)
    text = reply.body.decode()
    assert reply.status == exchange.status, text
    if isinstance(exchange.answer, str):
        assert exchange.answer in text
    else:
        envelope = json.loads(text)
        assert envelope["code"] == 0
        assert holds(envelope, exchange.answer), text


def test_a_deletion_is_an_envelope_without_data(caller: Caller) -> None:
    """What clients recorded, and what was once taken for a failure."""
    assert json.loads(caller.rest("DELETE", "Contact?id=2").body) == {"code": 0, "account_id": 187157}
