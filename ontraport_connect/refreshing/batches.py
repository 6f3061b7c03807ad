"""Many accounts at once: find what is due, oldest first, and refresh it with bounded concurrency over kept-alive connections."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from queue import SimpleQueue
from typing import Any

from django.db.models import Q

from ontraport_connect import monitoring
from ontraport_connect.conf import conf
from ontraport_connect.database import alias, in_transaction, short_lock_waits
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import Grant, Transport

from . import circuit_breaker, client_settings, group_saves, leases, one_account, outcomes, strikes
from .leases import Lease
from .outcomes import Outcome
from .recovery import recover, recover_all
from .spending import call, first_ended

logger = logging.getLogger("ontraport_connect")

BATCH_SIZE = 640
"""Twenty rounds of calls at the concurrency that is the default: the last round, which is never full, costs little of the whole."""

LONGEST_BATCH = 20.0
"""Seconds after which a batch takes no more accounts on, so that a worker which is told to stop can do so; the rest stays due."""


def due_batches(limit: int, size: int = BATCH_SIZE) -> Iterator[list[int]]:
    """Yield the ids of at most ``limit`` due accounts in batches, oldest first, a keyset page at a time.

    Accounts that nobody may claim now are left out, and those of another client or issuer than the settings name. Answers that wait for
    their row are taken over first. Raises ``OntraportMisconfigured``.
    """
    recover_all()
    due = _due().filter(leases.is_free()).usable()
    after: Any = None
    while limit > 0:
        rows = due
        if after is not None:
            rows = due.filter(Q(refresh_at__gt=after[0]) | Q(pk__gt=after[1]), refresh_at__gte=after[0])
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
        is_probe = circuit_breaker.enter()
    except OntraportError as error:
        return {error.code: len(pks)}
    # The one that probes is any, lest the site wait for one account that nobody can refresh.
    ordered = random.sample(pks, len(pks)) if is_probe else list(pks)
    return _Batch(ordered, is_probe=is_probe, seconds=seconds).refresh()


def _due() -> Any:
    """Return the accounts that are to be refreshed now, and that this site may refresh. Some may be claimed already."""
    rows = OntraportAccount.objects.using(alias()).due().filter(method=Method.OAUTH)
    return rows.filter(client_settings.of_this_client())


def _among(due: Any, pks: Sequence[int]) -> Any:
    """Return those of the accounts that are ``due`` whose owners are active."""
    usable = OntraportAccount.objects.using(alias()).filter(pk__in=pks).usable()
    return due.filter(pk__in=usable.order_by().values("pk"))


def _refresh_one_by_one(pks: Sequence[int]) -> dict[str, int]:
    """Refresh in the caller's transaction, whose one connection knows no other threads."""
    counts: Counter[str] = Counter()
    for account in _among(_due().filter(leases.is_free()), pks).order_by("refresh_at", "pk"):
        try:
            one_account.refresh(account)
        except OntraportError as error:
            counts[error.code] += 1
            if not circuit_breaker.may_refresh():
                break
        else:
            counts["refreshed"] += 1
    return dict(counts)


class _Batch:
    """Claims and saves in this thread, on its one connection; the calls run in others. A slow account holds up no other."""

    def __init__(self, pks: list[int], *, is_probe: bool, seconds: float) -> None:
        self.concurrency = max(1, min(conf.ONTRAPORT_REFRESH_CONCURRENCY, len(pks)))
        # A few more wait for a thread, so that none is idle while this one claims and saves; with many more, answers would wait for longer.
        self.most = self.concurrency + self.concurrency // 8 + 1
        self.room = 1 if is_probe else self.most
        self.is_probe = is_probe
        self.end = time.monotonic() + seconds
        self.is_stopped = False
        self.pks = deque(pks)
        self.claimed: deque[Lease] = deque()
        self.started: dict[Future[Outcome | None], Lease] = {}
        self.done: SimpleQueue[Future[Outcome | None]] = SimpleQueue()
        self.columns: dict[int, Mapping[str, Any]] = {}
        self.counts: Counter[str] = Counter()

    def refresh(self) -> dict[str, int]:
        """Whatever ends this, an error or a signal: what was sent is waited for and saved, what was not is given back."""
        with (
            short_lock_waits(),
            client_settings.new_transport() as transport,
            ThreadPoolExecutor(self.concurrency, thread_name_prefix="ontraport-refresh") as threads,
        ):
            try:
                while True:
                    while len(self.started) < self.room and (lease := self.next_lease()) is not None:
                        future: Future[Outcome | None] = Future()
                        future.add_done_callback(self.done.put)
                        self.started[future] = lease
                        threads.submit(monitoring.carried(self.run), future, transport)
                    if not self.started:
                        return dict(self.counts)
                    self.finish_all([self.done.get(), *self.waiting()])
            finally:
                self.is_stopped = True
                for future in [future for future in self.started if future.cancel()]:
                    self.claimed.append(self.started.pop(future))
                while self.started:
                    self.finish_all(first_ended(self.started))
                for lease in self.claimed:
                    outcomes.let_go(lease)

    def next_lease(self) -> Lease | None:
        """Claim two rounds of calls at once, as soon as less than one is left: to claim many costs hardly more. A lease that is too old by
        its turn is given back.
        """
        if self.is_over():
            return None
        while len(self.claimed) < self.reserve and self.pks:
            if not self.done.empty():
                break  # answers exist nowhere else until they are saved: they come first
            pks = [self.pks.popleft() for _ in range(min(self.lot, len(self.pks)))]
            for lease in leases.claim(_among(self.due, pks), pks, is_probe=self.is_probe):
                if recover(lease):
                    self.counts["recovered"] += 1
                else:
                    self.claimed.append(lease)
        return self.claimed.popleft() if self.claimed else None

    @property
    def lot(self) -> int:
        """How many are claimed at once."""
        return 1 if self.room == 1 else 2 * self.concurrency

    @property
    def reserve(self) -> int:
        """With how many claimed no more are claimed."""
        return 1 if self.room == 1 else self.concurrency

    @cached_property
    def due(self) -> Any:
        return _due()

    def is_over(self) -> bool:
        return self.is_stopped or time.monotonic() > self.end

    def run(self, future: Future[Outcome | None], transport: Transport) -> None:
        """Runs in a thread. The future is ours, and known before: what ``submit`` raises for may run all the same."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self.call(self.started[future], transport))
        except BaseException as error:  # noqa: BLE001  # who waits for it learns of it
            future.set_exception(error)

    def call(self, lease: Lease, transport: Transport) -> Outcome | None:
        """Return what came of the call. ``None``: the batch is over, and nothing was sent."""
        if self.is_over():
            return None
        outcome = call(lease, transport)
        if isinstance(outcome, Grant):
            # Encrypted here, so that the thread that saves has less to do. What fails is reported when the answer is saved alone.
            with suppress(BaseException):
                self.columns[lease.account.pk] = outcomes.columns_for(lease, outcome)
        if isinstance(outcome, OntraportError) and circuit_breaker.is_for_the_site(outcome, lease.account):
            self.is_stopped = True
        return outcome

    def waiting(self) -> list[Future[Outcome | None]]:
        """Return the calls that have ended meanwhile."""
        return [self.done.get() for _ in range(self.done.qsize())]

    def finish_all(self, futures: Sequence[Future[Outcome | None]]) -> None:
        """Save what came of these calls: grants together where that can be done, the rest one by one."""
        leases = [self.started[future] for future in futures]
        answered = [(lease, columns) for lease in leases if (columns := self.columns.pop(lease.account.pk, None))]
        try:
            saved = group_saves.save(answered)
        except Exception:
            logger.exception("Answers could not be saved together; they are saved one by one.")
            saved = set[int]()
        for future in futures:
            self.finish(future, is_saved=self.started[future].account.pk in saved)

    def finish(self, future: Future[Outcome | None], *, is_saved: bool) -> None:
        """Save one outcome; what goes wrong with one account must not keep the answers of the others from being saved."""
        lease, outcome = self.started[future], None
        try:
            outcome = future.result()
            if outcome is None:
                outcomes.let_go(lease)
            elif not is_saved:
                outcomes.settle(lease, outcome, read=False)
                self.is_stopped |= self.stops_all(outcome)
        except Exception:
            logger.exception("The outcome of refreshing account %s could not be saved.", lease.account.uid)
        del self.started[future]
        if outcome is not None:
            self.counts[outcome.code if isinstance(outcome, OntraportError) else "refreshed"] += 1
        if not self.is_probe or isinstance(outcome, Grant):
            self.room = self.most
        elif isinstance(outcome, OntraportUnavailable) and outcome.code != outcomes.LATE:
            self.is_stopped = True  # the probe was sent, and does not tell whether this site is accepted

    def stops_all(self, outcome: Outcome) -> bool:
        """Tell whether the breaker is open now. A probe of a grant that has ended stops nobody: the next account may tell more."""
        if not _may_stop_all(outcome):
            return False
        if self.is_probe and isinstance(outcome, ReconnectRequired):
            return circuit_breaker.site_standing().hold_code == circuit_breaker.MANY_ENDED
        return not circuit_breaker.may_refresh()


def _may_stop_all(outcome: Outcome) -> bool:
    return isinstance(outcome, OntraportError) and outcome.code in strikes.THRESHOLDS
