"""Many accounts at once: find what is due, oldest first, and refresh it with bounded concurrency over kept-alive connections."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from django.db.models import Q

from . import refreshing, saving, service
from .conf import conf
from .database import alias, in_transaction
from .exceptions import OntraportError
from .models import Method, OntraportAccount
from .saving import Lease, Outcome

logger = logging.getLogger("ontraport_connect")

BATCH_SIZE = 100

LONGEST_BATCH = 20.0
"""Seconds after which a batch takes no more accounts on, so that a worker which is told to stop can do so; the rest stays due."""


def due_batches(limit: int, size: int = BATCH_SIZE) -> Iterator[list[int]]:
    """Yield the ids of at most ``limit`` due accounts in batches, oldest first, a keyset page at a time."""
    after: Any = None
    while limit > 0:
        rows = OntraportAccount.objects.using(alias()).due().usable().filter(method=Method.OAUTH)
        if after is not None:
            rows = rows.filter(Q(refresh_at__gt=after[0]) | Q(pk__gt=after[1]), refresh_at__gte=after[0])
        page = list(rows.order_by("refresh_at", "pk").values_list("refresh_at", "pk")[: min(size, limit)])
        if not page:
            return
        yield [pk for _, pk in page]
        after = page[-1]
        limit -= len(page)


def refresh_batch(pks: Sequence[int], seconds: float = LONGEST_BATCH) -> dict[str, int]:
    """Refresh those of the accounts that are due still, and return how often what came out (``refreshed``, or the code of an error).

    After ``seconds`` no more of them are taken on.
    """
    if in_transaction():
        return _refresh_one_by_one(pks)
    try:
        is_probe = service.enter()
    except OntraportError as error:
        return {error.code: len(pks)}
    # The one that probes is any, lest the site wait for one account that nobody can refresh.
    ordered = random.sample(pks, len(pks)) if is_probe else list(pks)
    return _Batch(ordered, is_probe=is_probe).refresh(seconds)


def _due(pks: Sequence[int]) -> Any:
    """Return those of the accounts that are to be refreshed now."""
    rows = OntraportAccount.objects.using(alias())
    return rows.due().filter(method=Method.OAUTH, pk__in=rows.usable().filter(pk__in=pks).order_by().values("pk"))


def _refresh_one_by_one(pks: Sequence[int]) -> dict[str, int]:
    """Refresh in the caller's transaction, whose one connection knows no other threads."""
    counts: Counter[str] = Counter()
    for account in _due(pks).order_by("refresh_at", "pk"):
        try:
            refreshing.refresh(account)
        except OntraportError as error:
            counts[error.code] += 1
            if saving.concerns_all(error, account):
                break
        else:
            counts["refreshed"] += 1
    return dict(counts)


class _Batch:
    """Claims and saves in this thread, on its one connection; the calls run in others. A slow account holds up no other."""

    def __init__(self, pks: list[int], *, is_probe: bool) -> None:
        self.concurrency = max(1, min(conf.ONTRAPORT_REFRESH_CONCURRENCY, len(pks)))
        self.room = 1 if is_probe else self.concurrency
        self.is_probe = is_probe
        self.pks = deque(pks)
        self.claimed: deque[Lease] = deque()
        self.in_flight: dict[Future[Outcome], Lease] = {}
        self.done: SimpleQueue[Future[Outcome]] = SimpleQueue()
        self.counts: Counter[str] = Counter()

    def refresh(self, seconds: float) -> dict[str, int]:
        """Whatever ends this, an error or a signal: what was sent is waited for and saved, what was not is given back."""
        started = time.monotonic()
        with (
            service.new_transport(pool_size=self.concurrency) as transport,
            ThreadPoolExecutor(self.concurrency, thread_name_prefix="ontraport-refresh") as threads,
        ):
            try:
                while True:
                    if time.monotonic() - started > seconds:
                        self.room = 0
                    while len(self.in_flight) < self.room and (lease := self.next_lease()) is not None:
                        future = threads.submit(refreshing.call, lease, transport)
                        self.in_flight[future] = lease
                        future.add_done_callback(self.done.put)
                    if not self.in_flight:
                        return dict(self.counts)
                    self.finish(self.done.get())
            finally:
                for future in list(self.in_flight):
                    self.finish(future)
                for lease in self.claimed:
                    saving.let_go(lease)

    def next_lease(self) -> Lease | None:
        """Claim as many at once as there is room for."""
        while not self.claimed and self.pks:
            pks = [self.pks.popleft() for _ in range(min(self.room, len(self.pks)))]
            self.claimed.extend(refreshing.claim(_due(pks), pks, is_probe=self.is_probe))
        return self.claimed.popleft() if self.claimed else None

    def finish(self, future: Future[Outcome]) -> None:
        """Save one outcome; what goes wrong with one account must not keep the answers of the others from being saved."""
        lease, outcome = self.in_flight[future], future.result()
        try:
            saving.settle(lease, outcome, read=False)
        except Exception:
            logger.exception("The outcome of refreshing account %s could not be saved.", lease.account.uid)
        del self.in_flight[future]
        self.counts[outcome.code if isinstance(outcome, OntraportError) else "refreshed"] += 1
        if isinstance(outcome, OntraportError) and saving.concerns_all(outcome, lease.account):
            self.room = 0
        elif self.room:
            self.room = self.concurrency
