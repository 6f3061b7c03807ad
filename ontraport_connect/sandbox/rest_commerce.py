"""What REST does with invoices, payments and tasks. No card is charged."""

from __future__ import annotations

from typing import Any

from . import commerce, queries
from .messages import Refused, not_here
from .object_types import TASK
from .queries import Parameters
from .records import Records
from .rest_objects import Members

UNUSED = frozenset({"gateway_id", "invoice_template", "trans_date", "payer", "billing_address", "external_order_id"})
"""What a payment may say and the stand-in needs not: it charges nothing."""


def process_manual(records: Records, parameters: Parameters) -> Members:
    """Write a paid invoice, and say that no card was charged. Raises ``Refused``."""
    unknown = sorted(set(parameters) - UNUSED - {"contact_id", "chargeNow", "offer"})
    if unknown:
        raise not_here(f"parameter {unknown[0][:40]} in this call")
    if parameters.get("chargeNow") not in {"chargeNow", "chargeLog"}:
        raise not_here("chargeNow but chargeNow and chargeLog")
    offer = parameters.get("offer")
    products: Any = offer.get("products") if isinstance(offer, dict) else None
    invoice = commerce.new_invoice(records, parameters.get("contact_id"), products, "paid")
    return {
        "data": {
            "result_code": 1,
            "transaction_id": 0,
            "external_order_id": 0,
            "message": f"Success. {commerce.NOTHING_CHARGED}",
            "invoice_id": int(invoice["id"]),
        }
    }


def _invoices(parameters: Parameters) -> list[str]:
    unknown = sorted(set(parameters) - {"objectID", "id", "ids"})
    if unknown:
        raise not_here(f"parameter {unknown[0][:40]} in this call")
    numbers = queries.numbers_in(parameters)
    if not numbers:
        raise Refused(422, "Missing required parameter: ids")
    return numbers


def _move(records: Records, parameters: Parameters, what: str) -> None:
    for number in _invoices(parameters):
        commerce.move(records, number, what)


def refund(records: Records, parameters: Parameters) -> Members:
    _move(records, parameters, "refund")
    return {"data": f"Refunded. {commerce.NOTHING_CHARGED}"}


def void(records: Records, parameters: Parameters) -> Members:
    _move(records, parameters, "void")
    return {"data": f"Voided. {commerce.NOTHING_CHARGED}"}


def write_off(records: Records, parameters: Parameters) -> Members:
    _move(records, parameters, "write off")
    return {"data": "Written off."}


def mark_paid(records: Records, parameters: Parameters) -> Members:
    _move(records, parameters, "mark paid")
    return {"data": f"Marked as paid. {commerce.NOTHING_CHARGED}"}


def to_collections(records: Records, parameters: Parameters) -> Members:
    _move(records, parameters, "convert to collections")
    return {}


def to_decline(records: Records, parameters: Parameters) -> Members:
    _move(records, parameters, "convert to decline")
    return {}


def _tasks(records: Records, parameters: Parameters, known: frozenset[str]) -> list[str]:
    unknown = sorted(set(parameters) - known - {"object_id", "ids"})
    if unknown:
        raise not_here(f"parameter {unknown[0][:40]} in this call")
    numbers = queries.numbers_in(parameters)
    if not numbers:
        raise Refused(422, "Missing required parameter: ids")
    return [records.get(TASK, number)["id"] for number in numbers]


def cancel_tasks(records: Records, parameters: Parameters) -> Members:
    for number in _tasks(records, parameters, frozenset()):
        records.note(TASK, number, stand_in_status="cancelled")
    return {}


def complete_tasks(records: Records, parameters: Parameters) -> Members:
    for number in _tasks(records, parameters, frozenset()):
        records.note(TASK, number, stand_in_status="completed", date_complete=records.now)
    return {}


def reschedule_tasks(records: Records, parameters: Parameters) -> Members:
    due = queries.number_in(parameters, "newtime", 0)
    if not due:
        raise Refused(422, "Missing required parameter: newtime, in Unix seconds")
    for number in _tasks(records, parameters, frozenset({"newtime"})):
        records.note(TASK, number, date_due=str(due))
    return {}
