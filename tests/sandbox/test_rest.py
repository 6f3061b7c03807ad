"""REST on records in memory: made, changed, tagged and deleted, with answers shaped as public clients recorded them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ontraport_connect.sandbox import StandIn
from tests.support.stand_in import KEYS, Caller, Clock

NEW = {"objectID": 0, "firstname": "Nia", "email": "nia@example.com", "f1000": 5}
SALE = {"contact_id": 1, "chargeNow": "chargeNow", "offer": {"products": [{"id": 1, "quantity": 2}]}}


@pytest.mark.parametrize("as_form", [False, True])
def test_a_contact_is_made_and_read_again(caller: Caller, clock: Clock, *, as_form: bool) -> None:
    made = caller.data("POST", "objects", form=NEW) if as_form else caller.data("POST", "objects", NEW)
    now = str(int(clock.now))
    assert (made["id"], made["f1000"], made["date"], made["dlm"], made["owner"]) == ("22", "5", now, now, "1")
    assert caller.data("GET", "object?objectID=0&id=22") == made == caller.data("GET", "Contact?id=22")
    assert caller.data("GET", "objects/getInfo?objectID=0")["count"] == "22"


def test_a_change_gives_the_attributes_and_moves_dlm(caller: Caller, clock: Clock) -> None:
    clock.now += 60
    changed = caller.data("PUT", "objects", {"objectID": 0, "id": 3, "city": "Malmö", "f1000": None, "owner": True})
    assert changed == {"attrs": {"id": "3", "city": "Malmö", "f1000": "", "owner": "1", "dlm": str(int(clock.now))}}
    latest = caller.data("GET", "Contacts?sort=dlm&sortDir=desc&range=1")
    assert latest[0]["city"] == "Malmö"


def test_save_or_update_answers_differently_for_new_and_known(caller: Caller) -> None:
    made = caller.data("POST", "Contacts/saveorupdate", {"email": "new@example.com"})
    again = caller.data("POST", "Contacts/saveorupdate", {"email": "NEW@example.com", "company": "New & Co"})
    by_id = caller.data("POST", "objects/saveorupdate", {"objectID": 0, "id": "1", "city": "Abuja"})
    other = caller.data("POST", "Products/saveorupdate", {"name": "Mug", "price": "9"})
    assert (made["id"], again["attrs"]["id"], by_id["attrs"]["city"], other["id"]) == ("22", "22", "Abuja", "4")


def test_a_deletion_has_no_data(caller: Caller) -> None:
    assert json.loads(caller.rest("DELETE", "object?objectID=0&id=2").body) == {"code": 0, "account_id": 187157}
    assert caller.refusal("GET", "Contact?id=2") == (404, "Object not found")
    assert caller.data("DELETE", "objects", {"objectID": 0, "ids": [3, 4]}) == "Deleted"
    assert caller.data("GET", "Contacts/getInfo")["count"] == "18"
    assert caller.data("POST", "Contacts", {"firstname": "Next"})["id"] == "22"


def test_tags_by_number_and_by_name(caller: Caller) -> None:
    assert caller.data("PUT", "objects/tag", {"objectID": 0, "ids": "3,4", "add_list": "1,5"}) == (
        "The tag is now being processed."
    )
    assert caller.data("GET", "Contact?id=3")["contact_cat"] == "*/*2*/*1*/*5*/*"
    assert caller.data("DELETE", "objects/tag", {"objectID": 0, "ids": [3], "remove_list": "1,5"}) == (
        "The tag is now being removed."
    )
    caller.data("PUT", "objects/tagByName", {"objectID": 0, "ids": [3], "add_names": ["VIP", "newsletter"]})
    tag = caller.data("GET", "Tags?search=vip")[0]
    assert (tag["tag_id"], caller.data("GET", "Contact?id=3")["contact_cat"]) == ("6", "*/*2*/*6*/*")
    assert [each["id"] for each in caller.data("GET", "objects/tag?objectID=0&tag_name=VIP")] == ["3"]
    caller.data("DELETE", "objects/tagByName", {"objectID": 0, "ids": [3], "remove_names": ["VIP", "unknown"]})
    caller.data("DELETE", "objects/tag", {"objectID": 0, "ids": [3], "remove_list": "2"})
    assert caller.data("GET", "Contact?id=3")["contact_cat"] == ""
    tagged = json.loads(caller.rest("GET", "objects/tag?objectID=0&tag_id=6&count=true").body)
    assert (tagged["data"], tagged["count"]) == ([], "0")


def test_a_contact_is_found_by_its_email(caller: Caller) -> None:
    assert caller.data("GET", "object/getByEmail?objectID=0&email=Lucia@example.org") == {"id": "2"}
    assert caller.data("GET", "objects/getByEmail?objectID=0&email=lucia@example.org&all=1") == {"ids": ["2"]}
    assert caller.refusal("GET", "object/getByEmail?objectID=0&email=nobody@example.org") == (404, "Object not found")
    assert caller.refusal("GET", "object/getByEmail?objectID=16&email=nobody@example.org")[0] == 501


def test_a_sale_charges_no_card_and_says_so(caller: Caller) -> None:
    sold = caller.data("POST", "transaction/processManual", SALE)
    assert sold == {
        "result_code": 1,
        "transaction_id": 0,
        "external_order_id": 0,
        "message": "Success. No card was charged: this is a stand-in for Ontraport.",
        "invoice_id": 1,
    }
    invoice = caller.data("GET", "Transaction?id=1")
    assert (invoice["total"], invoice["stand_in_status"], invoice["contact_name"]) == ("48.00", "paid", "Amara Okafor")
    assert caller.data("GET", "Purchases")[0]["name"] == "House Blend, 1 kg"
    assert "No card was charged" in caller.data("PUT", "transaction/refund", {"ids": [1]})
    assert caller.refusal("PUT", "transaction/refund", {"ids": [1]}) == (
        422,
        "An invoice that is refunded cannot be used for: refund.",
    )


@pytest.mark.parametrize(
    ("path", "state", "has_data"),
    [
        ("void", "void", True),
        ("writeOff", "written off", True),
        ("markPaid", "paid", True),
        ("convertToCollections", "collections", False),
        ("convertToDecline", "declined", False),
    ],
)
def test_an_open_invoice_moves_on(caller: Caller, path: str, state: str, *, has_data: bool) -> None:
    caller.tool("create_invoice", contact_id=1, products=[{"id": 1, "price": [{"price": "3.5"}]}])
    reply = json.loads(caller.rest("PUT", f"transaction/{path}", {"id": 1}).body)
    assert ("data" in reply) == has_data
    invoice = caller.data("GET", "Transaction?id=1")
    assert (invoice["stand_in_status"], invoice["total"]) == (state, "3.50")


@pytest.mark.parametrize(
    ("call", "more", "field", "value"),
    [
        ("cancel", {}, "stand_in_status", "cancelled"),
        ("complete", {}, "stand_in_status", "completed"),
        ("reschedule", {"newtime": 1_900_000_000}, "date_due", "1900000000"),
    ],
)
def test_tasks_move_on_without_data(caller: Caller, call: str, more: dict[str, Any], field: str, value: str) -> None:
    caller.tool("assign_task", contact_id=1, subject="Call Amara")
    body = {"object_id": 1, "ids": [1], **more}
    assert json.loads(caller.rest("POST", f"task/{call}", body).body) == {"code": 0, "account_id": 187157}
    assert caller.data("GET", "Task?id=1")[field] == value


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("PATCH", "objects", {}, 501, "it has no PATCH /1/objects"),
    ("POST", "objects/subscribe", {}, 501, "it has no POST /1/objects/subscribe"),
    ("GET", "Webhooks", None, 501, "it has no GET /1/Webhooks"),
    ("GET", "Contacts/nonsense", None, 501, "no GET /1/Contacts/nonsense"),
    ("POST", "objects", b"[1]", 400, "neither a JSON object nor a form"),
    ("POST", "objects", b"{", 400, "neither a JSON object nor a form"),
    ("POST", "Contacts", {"nickname": "x"}, 501, "no field nickname that can be written in Contacts"),
    ("POST", "Contacts", {"contact_cat": "x"}, 501, "no field contact_cat that can be written"),
    ("POST", "Contacts", {"firstname": ["x"]}, 400, "The value of a field is a text or a number."),
    ("POST", "Contacts", {"f1000": "many"}, 400, "The value of f1000 is not a number."),
    ("POST", "Contacts", {"f1000": "nan"}, 400, "The value of f1000 is not a number."),
    ("POST", "Contacts", {"email": "nobody"}, 422, "Invalid email address"),
    ("POST", "Transactions", {"total": 1}, 501, "no way to write Transactions but the calls for transactions"),
    ("POST", "Contacts/saveorupdate", {"id": 99, "city": "x"}, 501, "no record 99 to save"),
    ("GET", "Contacts?id=1&ids=2", None, 501, "no id together with ids"),
    ("GET", "Contacts", {"search": ["x"]}, 400, "search is a text."),
    ("PUT", "Contacts", {"city": "x"}, 422, "Missing required parameter: id"),
    ("PUT", "Contacts", {"id": 99, "city": "x"}, 404, "Invalid Contact ID"),
    ("PUT", "Tags", {"id": 99, "tag_name": "x"}, 404, "Object not found"),
    ("DELETE", "Contacts", None, 422, "Missing required parameter: ids"),
    ("DELETE", "Transaction?id=1", None, 501, "no way to delete Transactions"),
    ("DELETE", "Contact?id=99", None, 404, "Object not found"),
    ("PUT", "objects/tag", {"objectID": 0, "ids": [1]}, 422, "Missing required parameter: the tags"),
    ("PUT", "objects/tag", {"objectID": 0, "ids": [1], "add_list": "99"}, 404, "Object not found"),
    ("PUT", "objects/tag", {"objectID": 0, "add_list": "1"}, 422, "Missing required parameter: ids"),
    ("PUT", "objects/tag", {"objectID": 16, "ids": [1], "add_list": "1"}, 501, "no tags on Products"),
    ("GET", "objects/tag?objectID=0", None, 422, "Missing required parameter: the tags"),
    ("GET", "objects/tag?objectID=0&tag_name=none", None, 422, "Missing required parameter: the tags"),
    ("POST", "transaction/processManual", {**SALE, "discount": 1}, 501, "no parameter discount"),
    ("POST", "transaction/processManual", {**SALE, "chargeNow": "later"}, 501, "no chargeNow but"),
    ("POST", "transaction/processManual", {**SALE, "contact_id": 99}, 404, "Invalid Contact ID"),
    ("POST", "transaction/processManual", {**SALE, "offer": "x"}, 422, "Missing required parameter: the products"),
    ("POST", "transaction/processManual", {**SALE, "offer": {"products": [1]}}, 400, "A product is an object"),
    ("POST", "transaction/processManual", {**SALE, "offer": {"products": [{"id": 9}]}}, 404, "Invalid product id"),
    (
        "POST",
        "transaction/processManual",
        {**SALE, "offer": {"products": [{"id": 1, "quantity": -1}]}},
        400,
        "Quantities and prices are numbers",
    ),
    (
        "POST",
        "transaction/processManual",
        {**SALE, "offer": {"products": [{"id": 1, "price": []}]}},
        400,
        "Quantities and prices are numbers",
    ),
    ("PUT", "transaction/void", {"ids": [9]}, 404, "Object not found"),
    ("PUT", "transaction/void", {}, 422, "Missing required parameter: ids"),
    ("PUT", "transaction/void", {"id": 1, "reason": "x"}, 501, "no parameter reason"),
    ("POST", "task/cancel", {}, 422, "Missing required parameter: ids"),
    ("POST", "task/cancel", {"ids": [1], "why": 1}, 501, "no parameter why"),
    ("POST", "task/reschedule", {"ids": [1]}, 422, "Missing required parameter: newtime"),
]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: f"{refused[0]} {refused[1]} {refused[4]}")
def test_a_refusal_is_text_that_says_why(caller: Caller, refused: tuple[str, str, Any, int, str]) -> None:
    method, path, body, status, text = refused
    said = caller.refusal(method, path, body)
    assert (said[0], text in said[1]) == (status, True), said


def test_a_form_that_is_no_text_is_refused(caller: Caller) -> None:
    headers = {**KEYS, "content-type": "application/x-www-form-urlencoded; charset=x"}
    assert caller.refusal("POST", "Contacts", b"\xff", headers=headers) == (400, "The body is not a form.")


def test_the_key_comes_first(caller: Caller, stand_in: StandIn) -> None:
    for headers in ({}, {**KEYS, "api-key": "wrong"}):
        reply = caller.rest("PATCH", "nonsense", headers=headers)
        assert (reply.status, reply.content_type) == (401, "text/html")
        assert reply.body == b"Your App ID and API Key do not authenticate."


def test_accounts_have_records_of_their_own_and_a_reset_brings_them_back(caller: Caller, stand_in: StandIn) -> None:
    caller.data("DELETE", "Contacts?ids=1,2,3")
    other = {"api-appid": "2_204211_sandbox", "api-key": "sandbox-key-agency"}
    assert caller.data("GET", "Contacts/getInfo", headers=other)["count"] == "20"
    stand_in.reset()
    assert caller.data("GET", "Contacts/getInfo")["count"] == "21"
    stand_in.switches.change({"contacts": 60})
    stand_in.seed()
    assert caller.data("GET", "Contacts?start=50")[-1]["email"] == "contact60@example.com"
