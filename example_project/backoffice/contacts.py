"""The shop's contacts, read from Ontraport."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ontraport_connect.budget import patience
from ontraport_connect.models import OntraportAccount

CONTACTS = "0"
PAGE_SIZE = 50
PATIENCE = 5.0
"""Seconds that a page waits when Ontraport asks to slow down."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    name: str
    company: str
    city: str
    email: str
    country: str

    @classmethod
    def from_ontraport(cls, row: Mapping[str, str]) -> Self:
        """One contact. Any field may be missing: each Ontraport account decides which ones there are."""
        return cls(
            name=" ".join(part for part in (row.get("firstname"), row.get("lastname")) if part),
            company=row.get("company", ""),
            city=row.get("city", ""),
            email=row.get("email", ""),
            country=row.get("country", ""),
        )


def first_contacts(account: OntraportAccount) -> list[Contact]:
    """Return the first fifty contacts. Raises `ontraport_connect.exceptions.OntraportError`."""
    with patience(PATIENCE):
        result = account.mcp("get_objects", objectID=CONTACTS, range=PAGE_SIZE)
    return [Contact.from_ontraport(row) for row in result["data"]]
