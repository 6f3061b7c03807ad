"""Many accounts at once: refresh what is due with bounded concurrency over kept-alive connections."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from ontraport_connect import monitoring
from ontraport_connect.conf import conf
from ontraport_connect.database import in_transaction, one_database, short_lock_waits, while_waiting
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import Grant, Transport

from . import circuit_breaker, client_settings, group_saves, outcomes, strikes
from .claims import Claims
from .interruptions import do_what_is_left, is_interruption, renew_connection
from .leases import Lease
from .one_by_one import refresh_one_by_one
from .outcomes import Outcome
from .process_end import process_stays
from .saving import columns_for
from .spending import call, first_ended
from .unsaved import Unsaved, is_unsaved, lost

LONGEST_BATCH = 20.0
"""Seconds after which a batch takes no more accounts on, so that a worker which is told to stop can do so; the rest stays due."""


@monitoring.told_afterwards()
@one_database()
def refresh_batch(pks: Sequence[int], seconds: float = LONGEST_BATCH) -> dict[str, int]:
    """Refresh those of the accounts that are due still, and return how often what came out (``refreshed``, or the code of an error).

    After ``seconds`` no more of them are taken on.
    """
    if in_transaction():
        return refresh_one_by_one(pks)
    try:
        is_probe = circuit_breaker.enter() or strikes.is_nobody_answered()
    except OntraportError as error:
        return {error.code: len(pks)}
    # The one that probes is any, lest the site wait for one account that nobody can refresh.
    ordered = random.sample(pks, len(pks)) if is_probe else list(pks)
    return _Batch(ordered, is_probe=is_probe, seconds=seconds).refresh()


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
        self.interruption: BaseException | None = None
        self.claims = Claims(pks, self.report)
        self.started: dict[Future[Outcome | None], Lease] = {}
        self.done: SimpleQueue[Future[Outcome | None]] = SimpleQueue()
        self.columns: dict[int, Mapping[str, Any]] = {}
        self.unsaved = Unsaved(self.done)
        self.counts: Counter[str] = Counter()

    def refresh(self) -> dict[str, int]:
        """Whatever ends this, an error or a signal: what was sent is waited for and saved, what was not is given back."""
        with (
            process_stays(),
            short_lock_waits(),
            client_settings.new_transport() as transport,
            ThreadPoolExecutor(self.concurrency, thread_name_prefix="ontraport-refresh") as threads,
        ):
            try:
                while self.started or self.claims.held or (self.claims.pks and not self.is_over()):
                    self.take_turn(threads, transport)
            finally:
                self.is_stopped = True
                self.wind_up(threads, transport)
        if self.interruption is not None:
            raise self.interruption
        return dict(self.counts + self.claims.counts)

    def wind_up(self, threads: ThreadPoolExecutor, transport: Transport) -> None:
        """Do what is left where something was raised."""
        raised = do_what_is_left(
            lambda: self.take_turn(threads, transport), lambda: bool(self.started or self.claims.held)
        )
        self.interruption = self.interruption or raised

    def take_turn(self, threads: ThreadPoolExecutor, transport: Transport) -> None:
        """Start as many calls as there is room for, and save what has come; once the batch is over, what was not sent is given back."""
        if self.is_over():
            self.is_stopped = True
            self.give_back()
        while len(self.started) < self.room and (lease := self.next_lease()) is not None:
            future: Future[Outcome | None] = Future()
            future.add_done_callback(self.done.put)
            self.started[future] = lease
            threads.submit(monitoring.carried(self.run), future, transport)
        self.finish_all(self.ended())

    def ended(self) -> Sequence[Future[Outcome | None]]:
        """Wait for calls that have ended, or, where there are no others, for the turn of one whose answer could not be saved."""
        calls = [future for future in self.started if future not in self.unsaved]
        if not calls:
            return self.unsaved.next()
        if self.is_stopped:
            return first_ended(calls, self.note)
        with suppress(Empty):  # the batch is over
            with while_waiting():
                first = self.done.get(timeout=max(0.0, self.end - time.monotonic()))
            return [first, *(self.done.get() for _ in range(self.done.qsize()))]
        return []

    def next_lease(self) -> Lease | None:
        """Claim two rounds of calls at once, as soon as less than one is left: to claim many costs hardly more. A lease that is too old by
        its turn is given back.
        """
        if self.is_over():
            return None
        while len(self.claims.ready) < self.reserve and self.claims.pks:
            if not self.done.empty():
                break  # answers exist nowhere else until they are saved: they come first
            self.claims.take(self.lot, is_probe=self.is_probe)
        return self.claims.ready.popleft() if self.claims.ready else None

    def give_back(self) -> None:
        """Give back the leases on whose tokens no call has begun."""
        for future in [future for future in self.started if future.cancel()]:
            del self.started[future]
        self.claims.give_back(in_flight={lease.account.pk for lease in self.started.values()})

    @property
    def lot(self) -> int:
        """How many are claimed at once."""
        return 1 if self.room == 1 else 2 * self.concurrency

    @property
    def reserve(self) -> int:
        """With how many claimed no more are claimed."""
        return 1 if self.room == 1 else self.concurrency

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
                self.columns[lease.account.pk] = columns_for(lease, outcome)
        if isinstance(outcome, OntraportError) and circuit_breaker.is_for_the_site(outcome, lease.account):
            self.is_stopped = True
        return outcome

    def finish_all(self, futures: Sequence[Future[Outcome | None]]) -> None:
        """Save what came of these calls: grants together where that can be done, the rest one by one."""
        leases = [self.started[future] for future in futures]
        answered = [(lease, columns) for lease in leases if (columns := self.columns.pop(lease.account.pk, None))]
        saved = set[int]()
        try:
            saved = group_saves.save(answered)
        except BaseException as error:  # noqa: BLE001  # raised when all is saved
            self.report(error, "Answers could not be saved together; they are saved one by one.")
        for future in futures:
            self.finish(future, is_saved=self.started[future].account.pk in saved)

    def finish(self, future: Future[Outcome | None], *, is_saved: bool) -> None:
        """Save one outcome, in another turn again where something got in the way (see ``Unsaved``); the others' are to be saved, too."""
        lease, failure = self.started[future], future.exception()
        outcome = future.result() if failure is None else None
        if failure is not None:  # the token may have been sent: the lease stays until it ends
            logger.error(
                "Refreshing account %s failed as nobody thought; its token may have been sent.",
                lease.account.uid,
                exc_info=failure,
            )
        elif is_saved:
            self.follow_up(lease)
        elif outcome is not None and (error := self.failure_to_settle(future, lease, outcome)) is not None:
            if self.unsaved.is_tried_again(future, lease, outcome, error):
                return
            outcome = lost() if is_unsaved(outcome, error) else outcome
        if outcome is not None or failure is not None:
            self.claims.held.pop(lease.account.pk, None)
        del self.started[future]
        self.go_by(outcome)

    def failure_to_settle(self, future: Future[Outcome | None], lease: Lease, outcome: Outcome) -> BaseException | None:
        self.unsaved.begin(future)
        settle = partial(outcomes.settle, lease, outcome, read=False, patience=0)
        try:
            outcomes.settle_whatever_happens(lease, outcome, settle)
            if outcomes.stops_others(outcome, is_probe=self.is_probe):
                self.is_stopped = True
        except BaseException as error:  # noqa: BLE001  # raised when all is saved
            if not is_unsaved(outcome, error):
                self.report(error, "The outcome of refreshing account %s could not be saved.", lease.account.uid)
            return error
        return None

    def follow_up(self, lease: Lease) -> None:
        """Do what is due for a grant that was saved with others."""
        try:
            outcomes.after_save(lease, read=False)
        except BaseException as error:  # noqa: BLE001  # raised when all is saved
            self.report(error, "What follows a refresh of account %s could not be done.", lease.account.uid)

    def go_by(self, outcome: Outcome | None) -> None:
        """Count an outcome. One of a probe tells whether others may follow."""
        if outcome is not None:
            self.counts[outcome.code if isinstance(outcome, OntraportError) else "refreshed"] += 1
        if not self.is_probe or isinstance(outcome, Grant):
            self.room, self.is_probe = self.most, False
        elif isinstance(outcome, OntraportUnavailable) and outcome.code != outcomes.LATE:
            self.is_stopped = True  # the probe was sent, and does not tell whether this site is accepted

    def note(self, interruption: BaseException) -> None:
        self.interruption = self.interruption or interruption

    def report(self, error: BaseException, text: str, *args: object) -> None:
        """Log what is being handled, and remember it where it is to end this batch."""
        logger.exception(text, *args)
        if is_interruption(error):
            self.interruption, self.is_stopped = self.interruption or error, True
            renew_connection()
