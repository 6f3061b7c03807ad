"""What REST does with records: read, count, make, change, delete, tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import queries, tagging
from .messages import Refused, not_here
from .object_types import CONTACT, PRODUCT, TRANSACTION, TYPES, ObjectType
from .queries import CRITERIA, PAGING, Parameters
from .records import Record, Records

Members = Mapping[str, Any]
"""Members of the envelope beside ``code`` and ``account_id``."""

LISTED = CRITERIA | PAGING | {"count"}
UNIQUE = {CONTACT.object_id: "email"}


def only(parameters: Parameters, known: frozenset[str]) -> None:
    """Raise ``Refused`` (501) for a parameter that would be ignored: an answer without it could be wrong."""
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise not_here(f"parameter {unknown[0][:40]} in this call")


def get_list(records: Records, parameters: Parameters) -> Members:
    only(parameters, LISTED)
    kind = queries.kind_of(parameters)
    found = queries.select(records, kind, parameters)
    counted = {"count": str(len(found))} if queries.is_true(parameters, "count") else {}
    return {"data": queries.arranged(kind, found, parameters), "misc": [], **counted}


def get_one(records: Records, parameters: Parameters) -> Members:
    only(parameters, frozenset({"objectID", "id"}))
    return {"data": dict(records.get(queries.kind_of(parameters), _number(parameters)))}


def _number(parameters: Parameters) -> str:
    if parameters.get("id") in (None, ""):
        raise Refused(422, "Missing required parameter: id")
    return str(parameters["id"])


def get_info(records: Records, parameters: Parameters) -> Members:
    only(parameters, CRITERIA)
    kind = queries.kind_of(parameters)
    shown = list(kind.shown)
    return {
        "data": {
            "listFields": shown,
            "listFieldSettings": [],
            "cardViewSettings": {"fields": shown, "sort": {}},
            "viewMode": [],
            "count": str(len(queries.select(records, kind, parameters))),
        }
    }


def get_meta(records: Records, parameters: Parameters) -> Members:
    """Return the fields of one kind of record, or of all, keyed by its number."""
    only(parameters, frozenset({"objectID", "format"}))
    if parameters.get("format") not in (None, "", "byId"):
        raise not_here("format but byId")
    kinds = [queries.kind_of(parameters)] if "objectID" in parameters else TYPES
    return {"data": {kind.object_id: {"name": kind.names[0], "fields": _described(kind)} for kind in kinds}}


def _described(kind: ObjectType) -> dict[str, Any]:
    return {
        name: {
            "alias": field.alias,
            "type": field.type,
            "required": "0",
            "unique": str(int(name == UNIQUE.get(kind.object_id))),
        }
        for name, field in kind.fields.items()
    }


def get_by_email(records: Records, parameters: Parameters) -> Members:
    only(parameters, frozenset({"objectID", "email", "all"}))
    if queries.kind_of(parameters) is not CONTACT:
        raise not_here("e-mail addresses but those of contacts")
    found = with_email(records, str(parameters.get("email", "")))
    if not found:
        raise Refused(404, "Object not found")
    numbers = [contact["id"] for contact in found]
    return {"data": {"ids": numbers} if queries.is_true(parameters, "all") else {"id": numbers[0]}}


def with_email(records: Records, email: str) -> list[Record]:
    wanted = email.strip().casefold()
    return [each for each in records.all(CONTACT) if wanted and each["email"].casefold() == wanted]


def create(records: Records, parameters: Parameters) -> Members:
    kind, values = _written(parameters)
    return {"data": dict(records.create(kind, values))}


def _written(parameters: Parameters) -> tuple[ObjectType, dict[str, Any]]:
    """Return the kind and the fields of a write. Raises ``Refused`` for invoices, which the calls for transactions write."""
    kind = queries.kind_of(parameters)
    if kind.object_id not in {CONTACT.object_id, PRODUCT.object_id, "1", "12", "14"}:
        raise not_here(f"way to write {kind.names[1]} but the calls for transactions")
    values = {name: value for name, value in parameters.items() if name != "objectID"}
    email = values.get("email")
    if kind is CONTACT and email and "@" not in str(email):
        raise Refused(422, "Invalid email address")
    return kind, values


def update(records: Records, parameters: Parameters) -> Members:
    kind, values = _written(parameters)
    number = _number(values)
    if records.find(kind, number) is None:
        raise Refused(404, "Invalid Contact ID" if kind is CONTACT else "Object not found")
    del values["id"]
    return {"data": {"attrs": records.update(kind, number, values)}}


def save_or_update(records: Records, parameters: Parameters) -> Members:
    """Change the record with this number or this e-mail address, or make one. The answers differ, as recorded."""
    kind, values = _written(parameters)
    number = str(values.pop("id", "") or "")
    same = with_email(records, str(values.get("email") or "")) if kind is CONTACT else []
    number = number or (same[0]["id"] if same else "")
    if not number:
        return {"data": dict(records.create(kind, values))}
    if records.find(kind, number) is None:
        raise not_here(f"record {number[:20]} to save: make one without a number")
    return {"data": {"attrs": records.update(kind, number, values)}}


def delete_one(records: Records, parameters: Parameters) -> Members:
    only(parameters, frozenset({"objectID", "id"}))
    kind, number = _deletable(parameters), _number(parameters)
    records.get(kind, number)
    records.delete(kind, [number])
    return {}


def delete_list(records: Records, parameters: Parameters) -> Members:
    only(parameters, CRITERIA)
    kind = _deletable(parameters)
    records.delete(kind, [record[kind.key] for record in _meant(records, kind, parameters)])
    return {"data": "Deleted"}


def _deletable(parameters: Parameters) -> ObjectType:
    kind = queries.kind_of(parameters)
    if kind is TRANSACTION:
        raise not_here("way to delete Transactions")
    return kind


def _meant(records: Records, kind: ObjectType, parameters: Parameters) -> list[Record]:
    """Return the records that a write is about. Raises ``Refused`` (422) where it does not say which: never all."""
    if not any(parameters.get(name) not in (None, "", []) for name in CRITERIA - {"objectID"}):
        raise Refused(422, "Missing required parameter: ids")
    return queries.select(records, kind, parameters)


def tag(records: Records, parameters: Parameters) -> Members:
    return _tagging(records, parameters, put_on=True, by_name=False)


def untag(records: Records, parameters: Parameters) -> Members:
    return _tagging(records, parameters, put_on=False, by_name=False)


def tag_by_name(records: Records, parameters: Parameters) -> Members:
    return _tagging(records, parameters, put_on=True, by_name=True)


def untag_by_name(records: Records, parameters: Parameters) -> Members:
    return _tagging(records, parameters, put_on=False, by_name=True)


def _tagging(records: Records, parameters: Parameters, *, put_on: bool, by_name: bool) -> Members:
    name = "add_names" if by_name and put_on else "remove_names" if by_name else "add_list" if put_on else "remove_list"
    only(parameters, CRITERIA | {name})
    kind = queries.kind_of(parameters)
    tagging.require_taggable(kind)
    given = queries.members(parameters.get(name) or [], name)
    numbers = tagging.numbers_of(records, given, make=put_on) if by_name else given
    if not by_name or not given:
        tagging.require_tags(records, numbers)
    contacts = _meant(records, kind, parameters)
    (tagging.put_on if put_on else tagging.take_off)(records, contacts, numbers)
    return {"data": f"The tag is now being {'processed' if put_on else 'removed'}."}


def get_tagged(records: Records, parameters: Parameters) -> Members:
    """Return the contacts that have a tag, by its number or name."""
    only(parameters, PAGING | {"objectID", "tag_id", "tag_name", "count"})
    kind = queries.kind_of(parameters)
    tagging.require_taggable(kind)
    name = str(parameters.get("tag_name") or "")
    numbers = tagging.numbers_of(records, [name], make=False) if name else [str(parameters.get("tag_id") or "")]
    tagging.require_tags(records, [number for number in numbers if number])
    found = tagging.tagged(records, numbers[0])
    counted = {"count": str(len(found))} if queries.is_true(parameters, "count") else {}
    return {"data": queries.arranged(kind, found, parameters), "misc": [], **counted}
