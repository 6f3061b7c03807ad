"""Which accounts are due, oldest first"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q

from ontraport_connect.database import alias
from ontraport_connect.models import Method, OntraportAccount

from . import client_settings, leases
from .recovery import recover_all

BATCH_SIZE = 640
"""Twenty rounds of calls at the concurrency that is the default: the last round, which is never full, costs little of the whole."""


def due() -> Any:
    """Return the accounts that are to be refreshed now, and that this site may refresh. Some may be claimed already."""
    rows = OntraportAccount.objects.using(alias()).due().filter(method=Method.OAUTH)
    return rows.filter(client_settings.of_this_client())


def among(due: Any, pks: Sequence[int]) -> Any:
    """Return those of the accounts that are ``due`` whose owners are active."""
    usable = OntraportAccount.objects.using(alias()).filter(pk__in=pks).usable()
    return due.filter(pk__in=usable.order_by().values("pk"))


def due_batches(limit: int, size: int = BATCH_SIZE) -> Iterator[list[int]]:
    """Yield the ids of at most ``limit`` due accounts in batches, oldest first, a keyset page at a time.

    Accounts that nobody may claim now are left out, and those of another client or issuer than the settings name. Answers that wait for
    their row are taken over first. Raises ``OntraportMisconfigured``.
    """
    recover_all()
    free = due().filter(leases.is_free()).usable()
    after: Any = None
    while limit > 0:
        rows = free
        if after is not None:
            rows = free.filter(Q(refresh_at__gt=after[0]) | Q(pk__gt=after[1]), refresh_at__gte=after[0])
        page = list(rows.order_by("refresh_at", "pk").values_list("refresh_at", "pk")[: min(size, limit)])
        if not page:
            return
        yield [pk for _, pk in page]
        after = page[-1]
        limit -= len(page)
