"""The owner of a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The owner of a link: ``tenant`` where it is set, otherwise ``user``. With a tenant, ``user`` is the person who creates the link."""

    user: Any
    tenant: str | None

    def new_account(self, **values: Any) -> OntraportAccount:
        """Return an account of this owner that is not saved yet."""
        return OntraportAccount(user=self.user, tenant=self.tenant or "", **values)

    def accounts(self) -> Any:
        """Return the queryset of the accounts that this owner has."""
        rows = OntraportAccount.objects.using(alias())
        return rows.filter(tenant=self.tenant) if self.tenant else rows.filter(user=self.user, tenant="")
