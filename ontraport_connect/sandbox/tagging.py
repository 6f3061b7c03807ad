"""Tags on contacts: put on and taken off by number or by name, the same for REST and MCP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import people
from .messages import Refused, not_here
from .object_types import CONTACT, TAG, ObjectType
from .records import Record, Records


def require_taggable(kind: ObjectType) -> None:
    if kind is not CONTACT:
        raise not_here(f"tags on {kind.names[1]}; it has them on contacts")


def numbers_of(records: Records, names: Iterable[str], *, make: bool) -> list[str]:
    """Return the numbers of tags by their names. A name that there is not becomes a new tag when ``make`` is true, else is left out."""
    known = {tag["tag_name"].casefold(): tag["tag_id"] for tag in records.all(TAG)}
    numbers = []
    for name in names:
        if name.casefold() not in known and make:
            tag = records.create(TAG, {"tag_name": name, "object_type_id": CONTACT.object_id})
            known[name.casefold()] = tag["tag_id"]
        numbers += [known[name.casefold()]] if name.casefold() in known else []
    return numbers


def require_tags(records: Records, numbers: Sequence[str]) -> None:
    """Raise ``Refused`` where there is no tag with one of these numbers, or where none is given."""
    if not numbers:
        raise Refused(422, "Missing required parameter: the tags")
    for number in numbers:
        records.get(TAG, number)


def put_on(records: Records, contacts: Iterable[Record], numbers: Sequence[str]) -> None:
    for contact in contacts:
        own = people.tags_in(contact["contact_cat"])
        _write(records, contact, [*own, *(number for number in numbers if number not in own)])


def take_off(records: Records, contacts: Iterable[Record], numbers: Sequence[str]) -> None:
    for contact in contacts:
        _write(records, contact, [own for own in people.tags_in(contact["contact_cat"]) if own not in numbers])


def _write(records: Records, contact: Record, numbers: list[str]) -> None:
    records.note(CONTACT, contact["id"], contact_cat=people.category(numbers), dlm=records.now)


def tagged(records: Records, number: str) -> list[Record]:
    """Return the contacts that have a tag."""
    return [contact for contact in records.all(CONTACT) if number in people.tags_in(contact["contact_cat"])]
