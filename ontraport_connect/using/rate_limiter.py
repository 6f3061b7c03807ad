"""Keeps the calls to each Ontraport account within its rate limit: 180 requests in any minute, shared by all processes of the site.

A call reserves its turn before it is sent: the first time at which the moving window has room. That takes one round trip to Redis, or one
statement, and is stored at once, so that waiting callers form a queue and do not poll. REST and MCP calls count together, per Ontraport
account.

Ontraport may count a slow call at any time until it has answered. Such a call is counted again when it ends, and callers who waited
behind it look at the window once more before they send.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ontraport_connect import monitoring
from ontraport_connect.database import has_one_writer, in_transaction, on_own_connection, unavailable_while_away
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import pause_of

from . import rate_window
from .rate_store import DatabaseStore, Store, plugged_store, redis_store
from .rate_window import Slot, State, Turn, Window

logger = logging.getLogger("ontraport_connect")
T = TypeVar("T")

COMPARE_PATIENCE = 10.0
"""Seconds that a thread waits for others of its process before it changes a state all the same."""


def budget_key(account: OntraportAccount) -> str:
    """Return the key under which the account's calls are counted. All links to one Ontraport account share it.

    The id is Ontraport's word: behind a prefix it never names a row that something else keeps its notes in.
    """
    return f"account:{account.ontraport_id or account.uid}"


def reserve(account: OntraportAccount, *, patience: float, requests: int = 1) -> Turn:
    """Reserve the next turn for ``requests`` requests that are sent together.

    Raises ``OntraportUnavailable`` with code ``rate_limited`` when the turn is more than ``patience`` seconds away.
    """
    key, began = budget_key(account), time.monotonic()
    window = rate_window.window_of_an_account()
    requests = min(requests, window.most)
    slot = _reserve(key, window, requests=requests, patience=patience)
    turn = Turn(key=key, requests=requests, at=slot.at, wait=slot.wait, began=began, give_up=began + patience)
    if slot.wait > patience:
        raise _rate_limited(turn)
    report_turn(turn)
    return turn


def confirm(turn: Turn) -> Turn:
    """Return the turn, postponed if calls ahead of it were late. To be called when the turn has come, before it is used.

    Raises as ``reserve`` does; the turn is given back then.
    """
    began = time.monotonic()
    patience = max(0.0, turn.give_up - began) + rate_window.slack()
    window = rate_window.window_of_an_account()
    again = _change(turn.key, partial(rate_window.confirm, window=window, turn=turn, began=began, patience=patience))
    if again.wait > patience:
        raise _rate_limited(again)
    return again


def _rate_limited(turn: Turn) -> OntraportUnavailable:
    monitoring.turn_refused()
    return OntraportUnavailable(
        "The requests that this Ontraport account allows in a minute are used up; try again in"
        f" {turn.wait:.0f} seconds.",
        code="rate_limited",
        retry_after=turn.wait,
    )


def settle(turn: Turn) -> None:
    """Report that the requests of a turn have been answered. A turn that took long is counted from now."""
    if took_long(turn):
        _note(turn.key, partial(rate_window.move_to_now, turn=turn))


def took_long(turn: Turn) -> bool:
    """Tell whether so much time has passed since ``turn`` began that Ontraport may have counted its requests later than the window does."""
    return time.monotonic() - turn.began > rate_window.slack()


def give_back(turn: Turn) -> None:
    """Report that the requests of a turn were not sent."""
    _note(turn.key, lambda state, now: state.with_calls(state.calls_without(turn)))


def hold(account: OntraportAccount, seconds: float) -> None:
    """Stop all calls to this Ontraport account for ``seconds``: it answered with 429, because others use it too."""
    _note(budget_key(account), lambda state, now: replace(state, until=max(state.until, now + round(seconds * 1000))))


def throttle(key: str, *, most: int, seconds: float) -> float:
    """Count one event under ``key``. Returns 0.0, or the seconds to wait when there were ``most`` events in the last ``seconds``.

    Returns 0.0 as well when the database is away.
    """
    window = Window(most=most, span=round(seconds * 1000))
    try:
        return _reserve(key, window, requests=1, patience=0.0).wait
    except OntraportUnavailable:
        return 0.0


def take(account: OntraportAccount, *, patience: float) -> Turn:
    """Wait for a turn and return it. Raises as ``reserve`` and ``confirm`` do."""
    taken = reserve(account, patience=patience)
    while taken.wait:
        time.sleep(taken.wait)
        taken = confirm(taken)
    return taken


def note_answer(account: OntraportAccount, turn: Turn, status: int, headers: Mapping[str, str]) -> None:
    """Report the answer to a request that had taken ``turn``."""
    settle(turn)
    if status == 429:
        hold(account, pause_of(headers))


def take_together(account: OntraportAccount, requests: int, *, patience: float) -> Turn:
    """Return a turn for so many requests, one after the other, where the window has room for all of them now. Where it has not,
    wait for a turn for one. Raises as ``take`` does.
    """
    if requests > 1:
        key, began = budget_key(account), time.monotonic()
        slot = _reserve(key, rate_window.window_of_an_account(), requests=requests, patience=0.0)
        if not slot.wait:
            taken = Turn(key=key, requests=requests, at=slot.at, wait=0.0, began=began, give_up=began + patience)
            report_turn(taken)
            return taken
    return take(account, patience=patience)


def report_turn(turn: Turn) -> None:
    """Tell monitoring of one request that got its turn."""
    monitoring.turn_reserved(turn.wait)


class Turns:
    """Turns for requests to one Ontraport account, one at a time."""

    def __init__(self, account: OntraportAccount) -> None:
        self._account = account

    @contextmanager
    def turn(self, *, patience: float) -> Iterator[None]:
        """Wait for a turn, and settle it when the block ends. Raises as ``reserve`` does."""
        taken = take(self._account, patience=patience)
        try:
            yield
        finally:
            settle(taken)

    def hold(self, seconds: float) -> None:
        """Do what ``hold`` does for this account."""
        hold(self._account, seconds)


def _reserve(key: str, window: Window, *, requests: int, patience: float) -> Slot:
    step = partial(rate_window.reserve, window=window, requests=requests, patience=patience)

    def reserve(store: Store) -> Slot:
        slot = store.reserve(key, window=window, requests=requests, patience=patience)
        return slot or _compare_and_set(store, key, step)

    return _in_store(reserve)


def _change(key: str, step: Callable[[State, int], tuple[State, T]]) -> T:
    """Apply ``step`` to the state under ``key``, and return its result."""
    return _in_store(lambda store: _compare_and_set(store, key, step))


def _in_store(use: Callable[[Store], T]) -> T:
    """Use Redis if it answers, else the database."""
    plugged = plugged_store()
    if plugged is not None:
        return use(plugged)
    store = redis_store()
    if store is not None and not store.rests():
        try:
            return use(store)
        except store.failures as error:
            store.note_failure(error)

    def use_database() -> T:
        return use(DatabaseStore())

    with unavailable_while_away():
        return use_database() if has_one_writer() else on_own_connection(use_database)


def _note(key: str, step: Callable[[State, int], State]) -> None:
    """Apply ``step`` after a call was made. A failure is only logged: the answer of that call must not be lost."""
    try:
        _change(key, lambda state, now: (step(state, now), None))
    except OntraportUnavailable as error:
        logger.warning("A call of Ontraport could not be counted: %s", error)


_comparing: threading.Semaphore


def _forget_comparing() -> None:
    global _comparing  # noqa: PLW0603  # of this process: a fork must not inherit one that is taken
    _comparing = threading.Semaphore()


_forget_comparing()
os.register_at_fork(after_in_child=_forget_comparing)


def _compare_and_set(store: Store, key: str, step: Callable[[State, int], tuple[State, T]]) -> T:
    """Change a state where no single statement does. Threads of a process take turns, so that they do not spoil each other's attempts."""
    longest = 0.0 if in_transaction() else COMPARE_PATIENCE  # a transaction may hold up the thread whose turn it is
    is_alone = _comparing.acquire(timeout=longest)
    try:
        while True:
            held = store.load(key)
            stored = State.read(held.state)
            changed, result = step(stored.as_of(held.now), held.now)
            if changed.has_times_of(stored) or store.replace(key, held, changed.write()):
                return result
            time.sleep(random.uniform(0.001, 0.01))  # noqa: S311  # jitter
    finally:
        if is_alone:
            _comparing.release()
