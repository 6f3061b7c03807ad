"""Invoices and payments in the stand-in. No card is ever charged, and every answer that could seem to say so says that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from .messages import Refused
from .object_types import CONTACT, PRODUCT, PURCHASE, TRANSACTION
from .records import Record, Records

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


def move(records: Records, number: object, what: str) -> Record:
    """Move an invoice on. Raises ``Refused`` where there is none, or where it is not in a state for that."""
    invoice = records.get(TRANSACTION, number)
    needed, then = MOVES[what]
    if invoice["stand_in_status"] not in needed:
        raise Refused(422, f"An invoice that is {invoice['stand_in_status']} cannot be used for: {what}.")
    return records.note(TRANSACTION, number, stand_in_status=then or invoice["stand_in_status"])


def new_invoice(records: Records, contact_id: object, products: Any, status: str) -> Record:
    """Write an invoice and its purchases. ``products`` is a list of ``{id, quantity, price}``. Raises ``Refused``."""
    contact = records.find(CONTACT, contact_id)
    if contact is None:
        raise Refused(404, "Invalid Contact ID")
    lines = [_line(records, product) for product in _list(products)]
    total = sum((quantity * price for _, quantity, price in lines), Decimal())
    name = f"{contact['firstname']} {contact['lastname']}".strip()
    invoice = records.create(TRANSACTION, {"contact_id": contact["id"], "total": f"{total:.2f}", "contact_name": name})
    records.note(TRANSACTION, invoice["id"], stand_in_status=status)
    for product, quantity, price in lines:
        values = {
            "contact_id": contact["id"],
            "product_id": product["id"],
            "invoice_id": invoice["id"],
            "quantity": f"{quantity}",
            "price": f"{price:.2f}",
            "name": product["name"],
        }
        records.create(PURCHASE, values)
    return invoice


def _list(products: Any) -> Sequence[Any]:
    if not isinstance(products, list) or not products:
        raise Refused(422, "Missing required parameter: the products, each with an id, a quantity and a price")
    return products


def _line(records: Records, line: Any) -> tuple[Record, Decimal, Decimal]:
    if not isinstance(line, dict):
        raise Refused(400, "A product is an object with an id, a quantity and a price.")
    product = records.find(PRODUCT, line.get("id"))
    if product is None:
        raise Refused(404, "Invalid product id")
    price = line.get("price", product["price"])
    if isinstance(price, list):  # as REST has it, for recurring payments
        price = price[0].get("price") if len(price) == 1 and isinstance(price[0], dict) else None
    return product, _amount(line.get("quantity", 1)), _amount(price)


def _amount(value: object) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise Refused(400, "Quantities and prices are numbers, 0 or more.")
    return amount
