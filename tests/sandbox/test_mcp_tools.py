"""The MCP tools act on the records that REST acts on, under the names that Ontraport publishes."""

from __future__ import annotations

from typing import Any

import pytest

from ontraport_connect.pages import tool_descriptions
from ontraport_connect.sandbox import commerce, mcp_commerce
from ontraport_connect.sandbox.mcp_server import TOOLS
from tests.support.stand_in import Caller

MUG = [{"id": 1, "quantity": 2, "price": "10"}]


def test_at_least_twenty_of_the_published_tools_are_there(caller: Caller) -> None:
    tools = {tool["name"]: tool for tool in caller.rpc("tools/list")["result"]["tools"]}
    assert len(tools) == 34
    assert {*tool_descriptions.TOOLS} <= {*tools}
    assert tools["delete_object"]["annotations"] == {"readOnlyHint": False, "destructiveHint": True}
    assert tools["get_subscribers"]["inputSchema"]["required"] == ["tag_id"]


def test_what_mcp_writes_rest_reads(caller: Caller) -> None:
    made = caller.tool("create_object", fields={"firstname": "Nia", "email": "nia@example.com"})["data"]
    assert caller.data("GET", f"Contact?id={made['id']}") == made
    caller.tool("update_object", id=made["id"], fields={"city": "Cardiff"})
    found = caller.tool("saveorupdate_object", fields={"email": "nia@example.com", "company": "Nia Ltd"})
    assert found["data"]["attrs"]["id"] == made["id"]
    assert caller.data("GET", f"Contact?id={made['id']}")["city"] == "Cardiff"
    assert caller.tool("delete_object", id=made["id"]) == {"deleted": 1}
    assert caller.tool("delete_objects", ids=[1, 2, 99]) == {"deleted": 2}
    assert caller.tool("count_objects") == {"count": 19}


def test_a_request_to_delete_all_is_ignored(caller: Caller) -> None:
    assert caller.tool("delete_objects") == {"deleted": 0}
    assert caller.tool("count_objects", objectID="0") == {"count": 21}


def test_objects_are_read_in_sorted_pages(caller: Caller) -> None:
    page = caller.tool("get_objects", sort="id", sortDir="desc", range=2, start=1, listFields=["city"])
    assert page == {"data": [{"id": "20", "city": "Québec"}, {"id": "19", "city": "Nelson"}], "start": 1, "count": 21}
    assert caller.tool("get_account_info")["timezone"] == "America/Los_Angeles"
    assert caller.tool("get_object_meta", objectID="14")["14"]["name"] == "Tag"
    assert caller.tool("list_allowed_object_types")["object_types"][0] == {
        "objectID": "0",
        "name": "Contact",
        "plural": "Contacts",
    }


def test_tags_are_managed_by_number_and_by_name(caller: Caller) -> None:
    done = caller.tool("manage_tags", ids=[3], add=["VIP", "1"], remove=["Newsletter"])
    assert done == {"records": 1, "added": 2, "removed": 1}
    assert caller.data("GET", "Contact?id=3")["contact_cat"] == "*/*1*/*6*/*"
    subscribers = caller.tool("get_subscribers", tag_id=6, listFields=["email"])
    assert subscribers == {"data": [{"id": "3", "email": "jonas.lindqvist@example.com"}], "count": 1}


def test_tasks_are_assigned_moved_and_done(caller: Caller) -> None:
    task = caller.tool("assign_task", contact_id=3, subject="Call", date_due=1_900_000_000)["data"]
    assert (task["stand_in_status"], task["contact_id"], task["owner"]) == ("open", "3", "1")
    assert caller.tool("reschedule_task", id=1, date_due=1_900_000_600)["data"]["date_due"] == "1900000600"
    assert caller.tool("get_recent_tasks", status="open")["data"][0]["id"] == "1"
    assert caller.tool("complete_task", id=1)["data"]["stand_in_status"] == "completed"
    caller.tool("assign_task", contact_id=3, subject="Write")
    assert caller.tool("cancel_task", id=2)["data"]["stand_in_status"] == "cancelled"
    assert len(caller.tool("get_recent_tasks")["data"]) == 2
    caller.data("POST", "Notes", {"contact_id": 3, "data": "Likes it dark"})
    assert caller.tool("get_recent_notes", range=1)["data"][0]["data"] == "Likes it dark"


def test_an_invoice_from_draft_to_refund(caller: Caller) -> None:
    draft = caller.tool("create_invoice", contact_id=1, products=MUG, status="draft")["data"]
    assert (draft["total"], draft["stand_in_status"]) == ("20.00", "draft")
    assert caller.tool("update_invoice", id=1, status="open")["data"]["stand_in_status"] == "open"
    assert caller.tool("send_invoice", id=1)["data"]["stand_in_status"] == "open"
    paid = caller.tool("pay_invoice", id=1)
    assert paid["data"]["stand_in_status"] == "paid"
    assert paid["message"] == "No card was charged: this is a stand-in for Ontraport."
    assert caller.tool("refund_transaction", id=1)["data"]["stand_in_status"] == "refunded"
    assert caller.tool("get_purchases", contact_id=1)["count"] == 1
    assert caller.tool("get_invoices", status="refunded", range=1)["count"] == 1


def test_a_failed_charge_is_run_again(caller: Caller) -> None:
    caller.tool("create_invoice", contact_id=1, products=MUG)
    caller.tool("convert_transaction", id=1, to="decline")
    assert caller.tool("get_failed_transactions")["count"] == 1
    assert caller.tool("rerun_transaction", id=1)["data"]["stand_in_status"] == "paid"
    assert caller.tool("void_transaction", id=1)["data"]["stand_in_status"] == "void"


def test_money_that_was_taken_elsewhere_is_logged(caller: Caller) -> None:
    assert caller.tool("log_offline_purchase", contact_id=1, products=MUG)["message"] == "Logged, as paid elsewhere."
    assert "No card was charged" in caller.tool("process_transaction", contact_id=1, products=MUG)["message"]
    caller.tool("create_invoice", contact_id=2, products=MUG)
    assert caller.tool("mark_transaction_paid", id=3)["data"]["stand_in_status"] == "paid"
    caller.tool("create_invoice", contact_id=2, products=MUG)
    assert caller.tool("write_off_transaction", id=4)["data"]["stand_in_status"] == "written off"


def test_a_subscription_is_sold_and_cancelled(caller: Caller) -> None:
    plan = [{"price": "24.00", "unit": "month", "payment_count": 12}]
    sold = caller.tool("process_transaction", contact_id=1, products=[{"id": 1, "price": plan}, *MUG])["data"]
    assert (sold["total"], sold["order_id"]) == ("44.00", "1")
    [order] = caller.tool("get_objects", objectID="44")["data"]
    assert (order["unit"], order["payment_count"], order["stand_in_status"]) == ("month", "12", "active")
    assert caller.tool("cancel_subscription", id=1)["data"]["stand_in_status"] == "cancelled"
    assert caller.data("GET", "object?objectID=44&id=1")["stand_in_status"] == "cancelled"
    assert caller.failure("cancel_subscription", id=1) == "This subscription has been cancelled already."
    assert caller.refusal("GET", "OpenOrders")[0] == 501


@pytest.mark.parametrize("terms", [{"unit": "month", "payment_count": 1}, {"payment_count": 3}, {}])
def test_what_is_paid_once_is_no_subscription(caller: Caller, terms: dict[str, Any]) -> None:
    caller.tool("create_invoice", contact_id=1, products=[{"id": 1, "price": [{"price": "24", **terms}]}])
    assert caller.tool("count_objects", objectID="44") == {"count": 0}


def test_every_published_tool_is_there_or_refused_in_words(caller: Caller) -> None:
    assert not mcp_commerce.NOT_HERE & {*TOOLS}
    for name in mcp_commerce.NOT_HERE:
        assert f"no tool {name}" in caller.failure(name)


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("create_object", {}, "Missing required argument: fields"),
        ("create_object", {"fields": "x"}, "fields is no object."),
        ("create_object", {"objectID": 46, "fields": {"total": 1}}, "written by the commerce tools only"),
        ("get_objects", {"group": 1}, "no argument group of get_objects"),
        ("update_invoice", {"id": 1, "status": "paid"}, "status is one of: open."),
        ("create_invoice", {"contact_id": 1, "products": MUG, "status": "paid"}, "status is one of: draft, open."),
        ("convert_transaction", {"id": 1, "to": "gold"}, "to is one of: collections, decline."),
        ("assign_task", {"contact_id": 99, "subject": "x"}, "Invalid Contact ID"),
        ("cancel_subscription", {"id": 1}, "Object not found"),
        ("create_object", {"objectID": 44, "fields": {"name": "x"}}, "written by the commerce tools only"),
        ("process_transaction", {"contact_id": 1, "products": [{"id": 1, "price": []}]}, "Quantities and prices are"),
        ("process_transaction", {"contact_id": 1, "products": [{"id": 1, "price": [{"tax": 1}]}]}, "no term tax of a"),
        ("manage_subscriptions", {"id": 1}, "no tool manage_subscriptions"),
        ("manage_tags", {"ids": [1], "add": [{"a": 1}]}, "add must be a list."),
        ("get_objects", {"id": 1, "ids": [2]}, "no id together with ids"),
        ("update_object", {"id": 2, "fields": {"id": 3}}, "no id or objectID inside fields"),
        ("create_object", {"fields": {"objectID": 14, "tag_name": "x"}}, "no id or objectID inside fields"),
        ("saveorupdate_object", {"id": 99, "fields": {"city": "Oban"}}, "no record 99"),
    ],
)
def test_a_tool_says_what_is_wrong(caller: Caller, tool: str, arguments: dict[str, Any], text: str) -> None:
    assert text in caller.failure(tool, **arguments)


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("get_objects", {"id": [1]}, "id is no string or integer."),
        ("get_objects", {"id": True}, "id is no string or integer."),
        ("get_objects", {"id": 1.5}, "id is no string or integer."),
        ("get_objects", {"ids": "1,2"}, "ids is no array."),
        ("get_objects", {"condition": None}, "condition is no array."),
        ("get_objects", {"search": 5}, "search is no string."),
        ("get_objects", {"start": -1}, "start is less than 0."),
        ("get_objects", {"start": "1"}, "start is no integer."),
        ("get_objects", {"range": 51}, "range is more than 50."),
        ("get_objects", {"sortDir": "up"}, "sortDir is one of: asc, desc."),
        ("get_invoices", {"status": "lost"}, "status is one of: "),
        ("get_invoices", {"range": 500}, "range is more than 50."),
        ("get_recent_tasks", {"range": 500}, "range is more than 50."),
        ("create_object", {"fields": [1]}, "fields is no object."),
    ],
)
def test_arguments_are_as_the_tool_describes_them(
    caller: Caller, tool: str, arguments: dict[str, Any], text: str
) -> None:
    """A number in place of a text once found other records, and a page of 500 was taken for one of 50."""
    assert text in caller.failure(tool, **arguments)


@pytest.mark.parametrize("number", [2, 2.0, "2"])
def test_a_whole_number_is_one_also_with_a_point(caller: Caller, number: object) -> None:
    assert caller.tool("get_objects", id=number, listFields=["id"])["data"] == [{"id": "2"}]
    assert caller.tool("get_objects", ids=[number], listFields=["id"])["data"] == [{"id": "2"}]


def test_every_status_of_an_invoice_can_be_asked_for(caller: Caller) -> None:
    [described] = [tool for tool in caller.rpc("tools/list")["result"]["tools"] if tool["name"] == "get_invoices"]
    statuses = described["inputSchema"]["properties"]["status"]["enum"]
    assert {then for _, then in commerce.MOVES.values() if then} | {"draft"} == {*statuses}
    assert [caller.tool("get_invoices", status=status)["count"] for status in statuses] == [0] * len(statuses)


def test_a_tag_that_there_is_not_is_not_removed(caller: Caller) -> None:
    done = caller.tool("manage_tags", ids=[2], remove=["Unknown", "Wholesale"])
    assert done == {"records": 1, "added": 0, "removed": 1}
