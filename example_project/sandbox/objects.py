"""Selects contacts as Ontraport does: by id, by a list of ids, by a condition, by a search, a page at a time."""

import json
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

from example_project.sandbox.accounts import Account
from example_project.sandbox.contacts import Contact, contacts_of

CONTACT_TYPE = "0"
PAGE_SIZE = 50
COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda ours, theirs: ours.casefold() == theirs.casefold(),
    "!=": lambda ours, theirs: ours.casefold() != theirs.casefold(),
    "LIKE": lambda ours, theirs: theirs.strip("%").casefold() in ours.casefold(),
    ">": gt,
    ">=": ge,
    "<": lt,
    "<=": le,
}


class InvalidQueryError(Exception):
    """A query that cannot be answered. Its message is sent to the client."""


def object_type(query: Mapping[str, Any]) -> str:
    """Check the object type. The sandbox has only contacts, which are object 0."""
    asked = str(query.get("objectID", query.get("object_type", CONTACT_TYPE)))
    if asked.lower() not in {CONTACT_TYPE, "contact", "contacts"}:
        raise InvalidQueryError(f"Object type {asked} is not allowed. The sandbox has contacts only (objectID 0).")
    return CONTACT_TYPE


def matches_rule(contact: Contact, rule: Any) -> bool:
    try:
        field, operator, value = rule["field"]["field"], rule["op"], str(rule["value"]["value"])
        return COMPARISONS[operator.upper()](contact[field], value)
    except (KeyError, TypeError, AttributeError):
        raise InvalidQueryError("Invalid condition.") from None


def matches(contact: Contact, condition: list[Any]) -> bool:
    """Evaluate rules joined by "AND" and "OR", from left to right."""
    result = matches_rule(contact, condition[0])
    for conjunction, rule in zip(condition[1::2], condition[2::2], strict=False):
        matched = matches_rule(contact, rule)
        result = (result and matched) if conjunction == "AND" else (result or matched)
    return result


def parse_condition(value: Any) -> list[Any]:
    try:
        condition = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise InvalidQueryError("Invalid condition.") from None
    if not isinstance(condition, list) or not condition:
        raise InvalidQueryError("Invalid condition.")
    return condition


def parse_ids(query: Mapping[str, Any]) -> set[str]:
    ids = query.get("ids") or query.get("id") or []
    if isinstance(ids, str):
        ids = ids.split(",")
    return {str(number).strip() for number in (ids if isinstance(ids, list) else [ids])}


def parse_number(query: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return max(0, int(query.get(name) or default))
    except (TypeError, ValueError):
        raise InvalidQueryError(f"{name} must be a number.") from None


def parse_fields(query: Mapping[str, str]) -> set[str]:
    """Return the names in `listFields`: a list, in JSON or joined by commas. Empty means all fields."""
    text = query.get("listFields") or "[]"
    try:
        fields = json.loads(text)
    except ValueError:
        fields = text.split(",")
    if not isinstance(fields, list):
        raise InvalidQueryError("listFields must be a list of fields.")
    return {str(field).strip() for field in fields}


def select(account: Account, query: Mapping[str, Any]) -> list[Contact]:
    """Return all contacts that match a query. Raises `InvalidQueryError`."""
    object_type(query)
    contacts = contacts_of(account)
    if ids := parse_ids(query):
        contacts = [contact for contact in contacts if contact["id"] in ids]
    if query.get("condition"):
        condition = parse_condition(query["condition"])
        contacts = [contact for contact in contacts if matches(contact, condition)]
    if query.get("search"):
        wanted = str(query["search"]).casefold()
        contacts = [contact for contact in contacts if wanted in " ".join(contact.values()).casefold()]
    return contacts


def page(contacts: list[Contact], query: Mapping[str, Any]) -> list[Contact]:
    """Return the `range` contacts from `start` on, at most 50."""
    start = parse_number(query, "start", 0)
    return contacts[start : start + min(PAGE_SIZE, parse_number(query, "range", PAGE_SIZE))]


def with_fields(contacts: list[Contact], query: Mapping[str, str]) -> list[Contact]:
    """Return the contacts with the fields in `listFields` and their ids, or with all fields when it is empty."""
    fields = parse_fields(query)
    if not fields:
        return contacts
    return [{name: value for name, value in contact.items() if name in {"id", *fields}} for contact in contacts]
