"""Which accounts are due, and the refresh of several in the caller's transaction"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ontraport_connect.database import alias
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.models import Method, OntraportAccount

from . import circuit_breaker, client_settings, leases, one_account


def due() -> Any:
    """Return the accounts that are to be refreshed now, and that this site may refresh. Some may be claimed already."""
    rows = OntraportAccount.objects.using(alias()).due().filter(method=Method.OAUTH)
    return rows.filter(client_settings.of_this_client())


def among(due: Any, pks: Sequence[int]) -> Any:
    """Return those of the accounts that are ``due`` whose owners are active."""
    usable = OntraportAccount.objects.using(alias()).filter(pk__in=pks).usable()
    return due.filter(pk__in=usable.order_by().values("pk"))


def refresh_one_by_one(pks: Sequence[int]) -> dict[str, int]:
    """Refresh in the caller's transaction, whose one connection knows no other threads."""
    counts: Counter[str] = Counter()
    for account in among(due().filter(leases.is_free()), pks).order_by("refresh_at", "pk"):
        try:
            one_account.refresh(account)
        except OntraportError as error:
            counts[error.code] += 1
            if not circuit_breaker.may_refresh():
                break
        else:
            counts["refreshed"] += 1
    return dict(counts)
