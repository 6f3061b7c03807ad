"""The kinds of records that the stand-in keeps, with their numbers, their fields and the types of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .messages import not_here

NUMBERS = frozenset({"id", "numeric", "price", "timestamp"})
"""Types of fields that are compared and sorted by value. All values travel as text, dates as Unix seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    alias: str
    type: str = "text"

    @property
    def is_number(self) -> bool:
        return self.type in NUMBERS


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectType:
    """``key`` is the field that holds a record's number; ``names`` are for one and for many, and those in paths, if it has any there."""

    object_id: str
    names: tuple[str, str]
    fields: Mapping[str, Field]
    shown: Sequence[str]
    key: str = "id"
    created: Sequence[str] = field(default_factory=tuple)
    changed: Sequence[str] = field(default_factory=tuple)
    has_path: bool = True


def _fields(numbers: Mapping[str, str], **texts: str) -> dict[str, Field]:
    """Return fields from ``name="alias"`` for texts, and ``"name": "alias:type"`` for others, the numbers first."""
    parsed = {name: entry.split(":") for name, entry in numbers.items()}
    return {name: Field(alias=alias, type=kind) for name, (alias, kind) in parsed.items()} | {
        name: Field(alias=alias) for name, alias in texts.items()
    }


DATES = {"date": "Date Added:timestamp", "dlm": "Date Modified:timestamp"}

CONTACT = ObjectType(
    object_id="0",
    names=("Contact", "Contacts"),
    fields=_fields(
        {"id": "Contact ID:id", "owner": "Owner:numeric", **DATES, "f1000": "Loyalty Points:numeric"},
        firstname="First Name",
        lastname="Last Name",
        email="Email",
        company="Company",
        office_phone="Office Phone",
        city="City",
        country="Country",
        unique_id="Unique ID",
        contact_cat="Contact Tags",
        f1001="Favourite Roast",
    ),
    shown=("firstname", "lastname", "email", "company"),
    created=("date", "dlm"),
    changed=("dlm",),
)
TASK = ObjectType(
    object_id="1",
    names=("Task", "Tasks"),
    fields=_fields(
        {
            "id": "Task ID:id",
            "owner": "Owner:numeric",
            "object_type_id": "Object Type:numeric",
            "contact_id": "Contact:numeric",
            "date_assigned": "Date Assigned:timestamp",
            "date_due": "Date Due:timestamp",
            "date_complete": "Date Completed:timestamp",
        },
        subject="Subject",
        details="Details",
        stand_in_status="Status in words (of the stand-in)",
    ),
    shown=("subject", "date_due", "stand_in_status"),
    created=("date_assigned",),
)
NOTE = ObjectType(
    object_id="12",
    names=("Note", "Notes"),
    fields=_fields(
        {
            "id": "Note ID:id",
            "contact_id": "Contact:numeric",
            "object_type_id": "Object Type:numeric",
            "owner": "Owner:numeric",
            **DATES,
        },
        data="Note",
        author="Author",
    ),
    shown=("data", "author", "date"),
    created=("date", "dlm"),
    changed=("dlm",),
)
TAG = ObjectType(
    object_id="14",
    names=("Tag", "Tags"),
    key="tag_id",
    fields=_fields({"tag_id": "Tag ID:id", "object_type_id": "Object Type:numeric"}, tag_name="Name"),
    shown=("tag_name",),
)
PRODUCT = ObjectType(
    object_id="16",
    names=("Product", "Products"),
    fields=_fields(
        {"id": "Product ID:id", "price": "Price:price", **DATES}, name="Name", description="Description", sku="SKU"
    ),
    shown=("name", "price"),
    created=("date", "dlm"),
    changed=("dlm",),
)
PURCHASE = ObjectType(
    object_id="17",
    names=("Purchase", "Purchases"),
    fields=_fields(
        {
            "id": "Purchase ID:id",
            "contact_id": "Contact:numeric",
            "product_id": "Product:numeric",
            "invoice_id": "Invoice:numeric",
            "quantity": "Quantity:numeric",
            "price": "Price:price",
            "date": "Date:timestamp",
        },
        name="Name",
    ),
    shown=("name", "quantity", "price"),
    created=("date",),
)
TRANSACTION = ObjectType(
    object_id="46",
    names=("Transaction", "Transactions"),
    fields=_fields(
        {
            "id": "Invoice:id",
            "contact_id": "Contact:numeric",
            "order_id": "Order:numeric",
            "date": "Date:timestamp",
            "total": "Total:price",
        },
        contact_name="Contact Name",
        stand_in_status="Status in words (of the stand-in)",
    ),
    shown=("contact_name", "date", "total", "stand_in_status"),
    created=("date",),
)
OPEN_ORDER = ObjectType(
    object_id="44",
    names=("OpenOrder", "OpenOrders"),
    fields=_fields(
        {
            "id": "Order ID:id",
            "contact_id": "Contact:numeric",
            "product_id": "Product:numeric",
            "price": "Price:price",
            "date": "Date:timestamp",
        },
        name="Name",
        unit="Paid each",
        payment_count="Number of payments",
        stand_in_status="Status in words (of the stand-in)",
    ),
    shown=("name", "price", "unit", "stand_in_status"),
    created=("date",),
    has_path=False,
)
"""What a customer pays for again and again. Its number is Ontraport's; no public client has a path for it."""

TYPES: Sequence[ObjectType] = (CONTACT, TASK, NOTE, TAG, PRODUCT, PURCHASE, OPEN_ORDER, TRANSACTION)
BY_NAME: Mapping[str, ObjectType] = {name.lower(): each for each in TYPES for name in (each.object_id, *each.names)} | {
    "invoice": TRANSACTION,
    "invoices": TRANSACTION,
}

OF_COMMERCE = frozenset({PURCHASE.object_id, OPEN_ORDER.object_id, TRANSACTION.object_id})
"""Types that are written by what moves money only, as at Ontraport's MCP server."""


def type_of(name: object) -> ObjectType:
    """Return the type of a number or a name. Raises ``Refused`` (501) for one that the stand-in does not have."""
    found = BY_NAME.get(str(name).strip().lower())
    if found is None:
        numbers = ", ".join(f"{each.object_id} ({each.names[1]})" for each in TYPES)
        raise not_here(f"object type {str(name)[:40]}; it has {numbers}")
    return found
