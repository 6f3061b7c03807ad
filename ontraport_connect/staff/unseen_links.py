"""Find links that nobody can see since the site was switched to tenants, or back to personal links."""

from __future__ import annotations

from collections.abc import Iterator

from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount

from .findings import Finding, Level, finding


def check_owners() -> Iterator[Finding]:
    """Count personal links where ``ONTRAPORT_TENANT`` is set, and links of tenants where it is not: they are refreshed for ever."""
    rows = OntraportAccount.objects.using(alias())
    if conf.ONTRAPORT_TENANT is None:
        unseen, one, many, right, why = rows.exclude(tenant=""), "a tenant", "tenants", "people", "is not set"
    else:
        unseen, one, many, right, why = rows.filter(tenant=""), "a person", "people", "tenants", "is set"
    count = unseen.count()
    if not count:
        yield finding("owners", Level.OK, f"all accounts belong to {right}")
        return
    option = "--user USERNAME" if conf.ONTRAPORT_TENANT is None else "--tenant TENANT"
    what = f"1 account belongs to {one}, and nobody can see it" if count == 1 else ""
    yield finding(
        "owners",
        Level.WARNING,
        f"{what or f'{count} accounts belong to {many}, and nobody can see them'}, since ONTRAPORT_TENANT {why}",
        "They are refreshed all the same. `manage.py ontraport accounts` lists all accounts, `manage.py ontraport assign UID"
        f" {option}` moves one to an owner who can see it, and `manage.py ontraport disconnect UID` disconnects it.",
    )
