"""The MCP tools for invoices and payments. No card is charged, and what could seem to charge one says so."""

from __future__ import annotations

from functools import partial
from typing import Any

from . import commerce, queries
from .object_types import PURCHASE, TRANSACTION, ObjectType
from .records import Record, Records
from .tool import LIST, NUMBER, PAGE, Arguments, Tool

INVOICE_STATUS = {"type": "string", "enum": sorted(commerce.STATUSES)}


def _page(kind: ObjectType, found: list[Record], arguments: Arguments) -> dict[str, Any]:
    paging = {name: arguments[name] for name in PAGE if name in arguments}
    return {"data": queries.arranged(kind, found, paging), "count": len(found)}


def get_invoices(records: Records, arguments: Arguments) -> dict[str, Any]:
    status = arguments.get("status")
    return _page(
        TRANSACTION,
        [invoice for invoice in records.all(TRANSACTION) if status in (None, invoice["stand_in_status"])],
        arguments,
    )


def get_purchases(records: Records, arguments: Arguments) -> dict[str, Any]:
    contact = str(arguments["contact_id"])
    return _page(PURCHASE, [each for each in records.all(PURCHASE) if each["contact_id"] == contact], arguments)


def get_failed_transactions(records: Records, arguments: Arguments) -> dict[str, Any]:
    failed = [each for each in records.all(TRANSACTION) if each["stand_in_status"] in {"declined", "collections"}]
    return _page(TRANSACTION, failed, arguments)


def create_invoice(records: Records, arguments: Arguments) -> dict[str, Any]:
    status = arguments.get("status", "open")
    return {"data": dict(commerce.new_invoice(records, arguments["contact_id"], arguments["products"], status))}


def update_invoice(records: Records, arguments: Arguments) -> dict[str, Any]:
    return {"data": dict(commerce.move(records, arguments["id"], "finalize"))}


def process_transaction(records: Records, arguments: Arguments) -> dict[str, Any]:
    return _paid(records, arguments, commerce.NOTHING_CHARGED)


def log_offline_purchase(records: Records, arguments: Arguments) -> dict[str, Any]:
    return _paid(records, arguments, "Logged, as paid elsewhere.")


def _paid(records: Records, arguments: Arguments, message: str) -> dict[str, Any]:
    invoice = commerce.new_invoice(records, arguments["contact_id"], arguments["products"], "paid")
    return {"data": dict(invoice), "message": message}


def convert_transaction(records: Records, arguments: Arguments) -> dict[str, Any]:
    return {"data": dict(commerce.move(records, arguments["id"], f"convert to {arguments['to']}"))}


def cancel_subscription(records: Records, arguments: Arguments) -> dict[str, Any]:
    return {"data": dict(commerce.cancel(records, arguments["id"]))}


def _moved(what: str, records: Records, arguments: Arguments) -> dict[str, Any]:
    return {"data": dict(commerce.move(records, arguments["id"], what)), "message": commerce.NOTHING_CHARGED}


def _mover(name: str, about: str, what: str, *, destroys: bool = False) -> Tool:
    return Tool(
        name=name,
        about=about,
        call=partial(_moved, what),
        arguments={"id": NUMBER},
        required=("id",),
        destroys=destroys,
    )


ABOUT_PRODUCTS = 'Each {"id": 1, "quantity": 2, "price": "24.00"}; the price of a subscription is [{"price": "24.00", "unit": "month"}].'
SALE = {"contact_id": NUMBER, "products": {**LIST, "description": ABOUT_PRODUCTS}}

TOOLS = (
    Tool(
        name="get_invoices",
        about="Invoices with their totals and status.",
        call=get_invoices,
        arguments={"status": INVOICE_STATUS, **PAGE},
        reads=True,
    ),
    Tool(
        name="get_purchases",
        about="What a contact has bought.",
        call=get_purchases,
        arguments={"contact_id": NUMBER, **PAGE},
        required=("contact_id",),
        reads=True,
    ),
    Tool(
        name="get_failed_transactions",
        about="Invoices that were declined or are in collections.",
        call=get_failed_transactions,
        arguments=PAGE,
        reads=True,
    ),
    Tool(
        name="create_invoice",
        about="Write an invoice, as a draft or open.",
        call=create_invoice,
        arguments={**SALE, "status": {"type": "string", "enum": ["draft", "open"]}},
        required=("contact_id", "products"),
    ),
    Tool(
        name="update_invoice",
        about="Make a draft an open invoice.",
        call=update_invoice,
        arguments={"id": NUMBER, "status": {"type": "string", "enum": ["open"]}},
        required=("id", "status"),
    ),
    Tool(
        name="process_transaction",
        about="Sell to a contact and take the money. Here no card is charged.",
        call=process_transaction,
        arguments=SALE,
        required=("contact_id", "products"),
        destroys=True,
    ),
    Tool(
        name="log_offline_purchase",
        about="Log a sale that was paid elsewhere.",
        call=log_offline_purchase,
        arguments=SALE,
        required=("contact_id", "products"),
    ),
    Tool(
        name="convert_transaction",
        about="Move an invoice to collections, or mark it as declined.",
        call=convert_transaction,
        arguments={"id": NUMBER, "to": {"type": "string", "enum": ["collections", "decline"]}},
        required=("id", "to"),
    ),
    Tool(
        name="cancel_subscription",
        about="Cancel a subscription, an object of type 44.",
        call=cancel_subscription,
        arguments={"id": NUMBER},
        required=("id",),
        destroys=True,
    ),
    _mover("pay_invoice", "Pay an invoice with the card on file. Here no card is charged.", "pay", destroys=True),
    _mover("mark_transaction_paid", "Mark an invoice as paid, without a charge.", "mark paid"),
    _mover("rerun_transaction", "Try a failed charge again. Here no card is charged.", "rerun", destroys=True),
    _mover("refund_transaction", "Refund a payment. Here no money moves.", "refund", destroys=True),
    _mover("void_transaction", "Void a charge before it settles. Here no money moves.", "void", destroys=True),
    _mover("write_off_transaction", "Write an invoice off.", "write off", destroys=True),
    _mover("send_invoice", "Send an invoice. Here no e-mail is sent.", "send"),
)

NOT_HERE = frozenset(
    {
        "build_api_condition",
        "get_automation_log",
        "get_contact_log",
        "get_groups",
        "get_landing_page_url",
        "get_payments",
        "get_recent_messages",
        "get_scheduled_broadcasts",
        "get_task_form_requirements",
        "manage_relationships",
        "manage_subscriptions",
        "pause_unpause_objects",
        "update_order",
        "validate_offer",
    }
)
"""Tools that Ontraport publishes and the stand-in does not have."""
