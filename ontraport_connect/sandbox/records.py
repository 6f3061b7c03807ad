"""The records of one account, in memory: made, changed and deleted by REST and MCP alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import people
from .accounts import Account
from .messages import Refused, not_here
from .object_types import CONTACT, PRODUCT, TAG, TYPES, ObjectType

Record = dict[str, str]

UNWRITABLE = frozenset({"unique_id", "contact_cat", "stand_in_status"})
"""Fields that only the stand-in itself writes; tags have calls of their own."""


def as_text(value: object) -> str:
    """Return a value as Ontraport keeps it: as text, truth as 1 and 0, nothing as nothing. Raises ``Refused`` for a list or object."""
    if isinstance(value, (dict, list)):
        raise Refused(400, "The value of a field is a text or a number.")
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


class Records:
    """The records of one account. Hold ``lock`` while using them; ``clock`` gives Unix seconds."""

    def __init__(self, account: Account, *, minimum: int, clock: Callable[[], float]) -> None:
        self.account = account
        self.lock = threading.RLock()
        self.clock = clock
        self._tables: dict[str, dict[str, Record]] = {each.object_id: {} for each in TYPES}
        self._last: dict[str, int] = dict.fromkeys(self._tables, 0)
        for name in people.tag_names(account):
            self.create(TAG, {"tag_name": name, "object_type_id": CONTACT.object_id})
        for name, price in people.PRODUCTS[account.username]:
            self.create(PRODUCT, {"name": name, "price": price})
        for contact in people.contacts(account, minimum):
            self._tables[CONTACT.object_id][contact["id"]] = self._whole(CONTACT, contact)
        self._last[CONTACT.object_id] = len(self._tables[CONTACT.object_id])

    @property
    def now(self) -> str:
        return str(int(self.clock()))

    def all(self, kind: ObjectType) -> list[Record]:
        return list(self._tables[kind.object_id].values())

    def find(self, kind: ObjectType, number: object) -> Record | None:
        return self._tables[kind.object_id].get(str(number))

    def get(self, kind: ObjectType, number: object) -> Record:
        """Return a record. Raises ``Refused`` (404)."""
        found = self.find(kind, number)
        if found is None:
            raise Refused(404, "Object not found")
        return found

    def create(self, kind: ObjectType, values: Mapping[str, Any]) -> Record:
        """Make a record, and give it the next number. Raises ``Refused`` for a field that there is not."""
        record = self._whole(kind, self.fields_in(kind, values))
        self._last[kind.object_id] += 1
        number = str(self._last[kind.object_id])
        record[kind.key] = number
        record.update({name: self.now for name in kind.created if not record[name]})
        if kind is CONTACT:
            record.update(owner=record["owner"] or "1", unique_id=f"SANDBOX{number:0>6}")
        self._tables[kind.object_id][number] = record
        return record

    def update(self, kind: ObjectType, number: object, values: Mapping[str, Any]) -> Record:
        """Change a record, and return the changed fields with its number. Raises ``Refused``."""
        record, changes = self.get(kind, number), self.fields_in(kind, values)
        changes |= dict.fromkeys(kind.changed, self.now)
        record.update(changes)
        return {kind.key: record[kind.key], **changes}

    def note(self, kind: ObjectType, number: object, **values: str) -> Record:
        """Change fields that clients cannot write."""
        record = self.get(kind, number)
        record.update(values)
        return record

    def delete(self, kind: ObjectType, numbers: Iterable[str]) -> int:
        """Delete records, and return how many there were."""
        table = self._tables[kind.object_id]
        return sum(table.pop(number, None) is not None for number in list(numbers))

    def fields_in(self, kind: ObjectType, values: Mapping[str, Any]) -> Record:
        """Return the fields of a record that a request sets. Raises ``Refused`` (501) for one that the stand-in does not have."""
        unknown = [name for name in values if name not in kind.fields or name in UNWRITABLE or name == kind.key]
        if unknown:
            raise not_here(f"field {unknown[0][:40]} that can be written in {kind.names[1]}")
        fields = {name: as_text(value) for name, value in values.items()}
        for name, text in fields.items():
            if text and kind.fields[name].is_number and not is_number(text):
                raise Refused(400, f"The value of {name} is not a number.")
        return fields

    def _whole(self, kind: ObjectType, values: Mapping[str, str]) -> Record:
        return {name: values.get(name, "") for name in kind.fields}


def is_number(text: str) -> bool:
    try:
        return float(text) == float(text)  # which "nan" is not
    except ValueError:
        return False
