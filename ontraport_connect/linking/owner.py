"""Whose a link is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Whose a link is: the user's, or the tenant's and then the user is who made it."""

    user: Any
    tenant: str | None

    def accounts(self) -> Any:
        rows = OntraportAccount.objects.using(alias())
        return rows.filter(tenant=self.tenant) if self.tenant else rows.filter(user=self.user, tenant="")
