"""Refresh several accounts in the caller's transaction"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ontraport_connect.exceptions import OntraportError

from . import circuit_breaker, leases, one_account
from .due_accounts import among, due


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
