"""Invoices and payments in the stand-in. No card is ever charged, and every answer that could seem to say so says that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from .messages import Refused, not_here
from .object_types import CONTACT, OPEN_ORDER, PRODUCT, PURCHASE, TRANSACTION
from .records import Record, Records, as_text

NOTHING_CHARGED = "No card was charged: this is a stand-in for Ontraport."

MOVES: Mapping[str, tuple[frozenset[str], str]] = {
    "pay": (frozenset({"open", "declined", "collections"}), "paid"),
    "mark paid": (frozenset({"open", "declined", "collections"}), "paid"),
    "rerun": (frozenset({"declined", "collections"}), "paid"),
    "refund": (frozenset({"paid"}), "refunded"),
    "void": (frozenset({"paid", "open"}), "void"),
    "write off": (frozenset({"open", "declined", "collections"}), "written off"),
    "convert to collections": (frozenset({"open", "declined"}), "collections"),
    "convert to decline": (frozenset({"open", "collections"}), "declined"),
    "finalize": (frozenset({"draft"}), "open"),
    "send": (frozenset({"open", "declined", "collections", "paid"}), ""),
}
"""What each move needs an invoice to be, and what the invoice is then (empty: as before)."""

STATUSES = frozenset({"draft"} | {then for _, then in MOVES.values() if then})


class Line(NamedTuple):
    """One product of an invoice. ``terms`` are empty where it is paid for once."""

    product: Record
    quantity: Decimal
    price: Decimal
    terms: Mapping[str, str]


def move(records: Records, number: object, what: str) -> Record:
    """Move an invoice on. Raises ``Refused`` where there is none, or where it is not in a state for that."""
    invoice = records.get(TRANSACTION, number)
    needed, then = MOVES[what]
    if invoice["stand_in_status"] not in needed:
        raise Refused(422, f"An invoice that is {invoice['stand_in_status']} cannot be used for: {what}.")
    return records.note(TRANSACTION, number, stand_in_status=then or invoice["stand_in_status"])


def new_invoice(records: Records, contact_id: object, products: Any, status: str) -> Record:
    """Write an invoice, its purchases, and a subscription for each product that is paid for again and again. Raises ``Refused``.

    ``products`` is a list of ``{id, quantity, price}``. For a subscription ``price`` is ``[{price, unit, payment_count}]``.
    """
    contact = records.find(CONTACT, contact_id)
    if contact is None:
        raise Refused(404, "Invalid Contact ID")
    lines = [_line(records, product) for product in _list(products)]
    total = sum((line.quantity * line.price for line in lines), Decimal())
    name = f"{contact['firstname']} {contact['lastname']}".strip()
    invoice = records.create(TRANSACTION, {"contact_id": contact["id"], "total": f"{total:.2f}", "contact_name": name})
    records.note(TRANSACTION, invoice["id"], stand_in_status=status)
    for line in lines:
        sold = {
            "contact_id": contact["id"],
            "product_id": line.product["id"],
            "price": f"{line.price:.2f}",
            "name": line.product["name"],
        }
        records.create(PURCHASE, {**sold, "invoice_id": invoice["id"], "quantity": f"{line.quantity}"})
        if line.terms:
            order = records.create(OPEN_ORDER, {**sold, **line.terms})
            records.note(OPEN_ORDER, order["id"], stand_in_status="active")
            records.note(TRANSACTION, invoice["id"], order_id=order["id"])
    return invoice


def cancel(records: Records, number: object) -> Record:
    """End a subscription. Raises ``Refused`` where there is none, or where it has ended."""
    order = records.get(OPEN_ORDER, number)
    if order["stand_in_status"] != "active":
        raise Refused(422, "This subscription has been cancelled already.")
    return records.note(OPEN_ORDER, number, stand_in_status="cancelled")


def _list(products: Any) -> Sequence[Any]:
    if not isinstance(products, list) or not products:
        raise Refused(422, "Missing required parameter: the products, each with an id, a quantity and a price")
    return products


def _line(records: Records, line: Any) -> Line:
    if not isinstance(line, dict):
        raise Refused(400, "A product is an object with an id, a quantity and a price.")
    product = records.find(PRODUCT, line.get("id"))
    if product is None:
        raise Refused(404, "Invalid product id")
    price = line.get("price", product["price"])
    terms: Mapping[str, str] = {}
    if isinstance(price, list):
        plan = price[0] if len(price) == 1 and isinstance(price[0], dict) else {}
        price, terms = plan.get("price"), _terms(plan)
    return Line(product, _amount(line.get("quantity", 1)), _amount(price), terms)


def _terms(plan: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what says that a price is paid again and again; nothing where it is paid once. Raises ``Refused``."""
    unknown = sorted(set(plan) - {"id", "price", "unit", "payment_count"})
    if unknown:
        raise not_here(f"term {unknown[0][:40]} of a price")
    terms = {name: as_text(plan.get(name)) for name in ("unit", "payment_count")}
    return terms if terms["unit"] and terms["payment_count"] != "1" else {}


def _amount(value: object) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise Refused(400, "Quantities and prices are numbers, 0 or more.")
    return amount
