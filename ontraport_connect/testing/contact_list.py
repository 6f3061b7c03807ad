"""The contacts of an Ontraport account, for a test to look at and to arrange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from ontraport_connect.sandbox import CONTACT, Records


class ContactList(Sequence[dict[str, str]]):
    """The contacts as they are now, each a copy of its fields; all values are texts."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records.all(CONTACT))

    @overload
    def __getitem__(self, index: int) -> dict[str, str]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, str]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, str] | list[dict[str, str]]:
        return [dict(contact) for contact in self._records.all(CONTACT)][index]

    def add(self, **fields: Any) -> dict[str, str]:
        """Make a contact, and return it. Raises ``Refused`` for a field that there is not."""
        return dict(self._records.create(CONTACT, fields))

    def change(self, number: str, **fields: Any) -> None:
        """Change a contact by its ``id``. Raises ``Refused``."""
        self._records.update(CONTACT, number, fields)

    def clear(self) -> None:
        """Delete all."""
        self._records.delete(CONTACT, [contact["id"] for contact in self])
