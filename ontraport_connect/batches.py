"""Many accounts at once: find what is due, oldest first, and refresh it with bounded concurrency over kept-alive connections."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Any

from django.db.models import Q

from . import refreshing, saving, service
from .conf import conf
from .database import alias, in_transaction
from .exceptions import OntraportError, OntraportMisconfigured, SecretUnreadable
from .models import Method, OntraportAccount
from .provider import Grant
from .saving import Lease

logger = logging.getLogger("ontraport_connect")

BATCH_SIZE = 100
Outcome = Grant | OntraportError


def due_batches(limit: int) -> Iterator[list[int]]:
    """Yield the ids of at most ``limit`` due accounts in batches, oldest first, a keyset page at a time."""
    after: Any = None
    while limit > 0:
        rows = OntraportAccount.objects.using(alias()).due().usable().filter(method=Method.OAUTH)
        if after is not None:
            rows = rows.filter(Q(refresh_at__gt=after[0]) | Q(pk__gt=after[1]), refresh_at__gte=after[0])
        page = list(rows.order_by("refresh_at", "pk").values_list("refresh_at", "pk")[: min(BATCH_SIZE, limit)])
        if not page:
            return
        yield [pk for _, pk in page]
        after = page[-1]
        limit -= len(page)


def refresh_batch(pks: Sequence[int]) -> dict[str, int]:
    """Refresh those of the accounts that are due still, and return how often what came out (``refreshed``, or the code of an error)."""
    try:
        is_probe = service.enter()
    except OntraportError as error:
        return {error.code: len(pks)}
    rows = list(
        OntraportAccount.objects.using(alias())
        .due()
        .usable()
        .filter(pk__in=pks, method=Method.OAUTH)
        .order_by("refresh_at", "pk")
    )
    counts: dict[str, int] = {}
    for outcome in _refresh_one_by_one(rows) if in_transaction() else _refresh_together(rows, is_probe):
        name = outcome.code if isinstance(outcome, OntraportError) else "refreshed"
        counts[name] = counts.get(name, 0) + 1
    return counts


def _refresh_one_by_one(rows: Sequence[OntraportAccount]) -> Iterator[Outcome | None]:
    for account in rows:
        try:
            refreshing.refresh(account)
        except OntraportError as error:
            yield error
            if _stops_all(error):
                return
        else:
            yield None


def _refresh_together(rows: Sequence[OntraportAccount], is_probe: bool) -> Iterator[Outcome]:
    """Claim and save in this thread, on its one connection; the calls run in others. A slow account holds up no other."""
    concurrency = max(1, min(conf.ONTRAPORT_REFRESH_CONCURRENCY, len(rows)))
    answers: SimpleQueue[tuple[Lease, Future[Outcome]]] = SimpleQueue()
    leases = (lease for row in rows if (lease := refreshing.claim(row, is_probe=is_probe)) is not None)
    with (
        service.new_transport(pool_size=concurrency) as transport,
        ThreadPoolExecutor(concurrency, thread_name_prefix="ontraport-refresh") as threads,
    ):

        def send(lease: Lease) -> None:
            future = threads.submit(refreshing.call, lease, transport)
            future.add_done_callback(lambda done: answers.put((lease, done)))

        in_flight = 0
        room = 1 if is_probe else concurrency
        while True:
            for lease in islice(leases, room - in_flight):
                send(lease)
                in_flight += 1
            if not in_flight:
                return
            lease, future = answers.get()
            in_flight -= 1
            outcome = future.result()
            _settle(lease, outcome)
            room = 0 if _stops_all(outcome) or not room else concurrency
            yield outcome


def _settle(lease: Lease, outcome: Outcome) -> None:
    """Save one outcome; what goes wrong with one account must not keep the answers of the others from being saved."""
    try:
        saving.settle(lease, outcome, read=False)
    except Exception:
        logger.exception("The outcome of refreshing account %s could not be saved.", lease.account.uid)


def _stops_all(outcome: Outcome | None) -> bool:
    if isinstance(outcome, SecretUnreadable) or not isinstance(outcome, OntraportError):
        return False
    return isinstance(outcome, OntraportMisconfigured) or outcome.code == service.RATE_LIMITED
