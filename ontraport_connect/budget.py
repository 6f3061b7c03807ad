"""Our share of what an Ontraport account allows: 180 requests in a rolling minute, REST and MCP together, over all processes of a site.

A call takes its turn before it is sent: the first moment at which the window has room, noted at once, so that those who wait stand in
line and nobody polls. What is noted is the time of the latest calls, one list for each Ontraport account, by the clock of the store.
A call that Ontraport may have counted later than noted, because it took long, is noted anew when it has ended.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from .budget_store import DatabaseStore, Held, RedisErrors, Store, redis_store
from .conf import conf
from .database import has_one_writer, on_own_connection
from .exceptions import OntraportUnavailable
from .models import OntraportAccount

logger = logging.getLogger("ontraport_connect")
T = TypeVar("T")

SLACK = 1 / 60
"""Share of the window that is left over at its end, for calls that take a while to get there: a second of a minute."""

REDIS_PAUSE = 10.0
"""Seconds for which the database counts after Redis was away."""

_redis_is_away_until = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """When an Ontraport account was called, or will be, and until when it must not be: in milliseconds, the oldest first."""

    calls: tuple[int, ...] = ()
    until: int = 0

    @classmethod
    def read(cls, text: str) -> State:
        members = json.loads(text or "{}")
        return cls(calls=tuple(members.get("calls", ())), until=members.get("until", 0))

    def write(self) -> str:
        return json.dumps({"calls": self.calls, "until": self.until}, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The right to send so many requests, ``wait`` seconds from when it was taken."""

    key: str
    at: tuple[int, ...]
    wait: float
    taken: float


def key_of(account: OntraportAccount) -> str:
    """Return what is counted together: an Ontraport account, however often and by whomever it is linked."""
    return account.ontraport_id or str(account.uid)


def reserve(account: OntraportAccount, *, patience: float, requests: int = 1) -> Turn:
    """Take the next turn, and return it; ``turn.wait`` seconds must pass before it is used.

    Raises ``OntraportUnavailable`` with code ``rate_limited`` when it would come later than ``patience`` seconds from now.
    """
    limit, window = conf.ONTRAPORT_RATE_LIMIT
    span = round(window * (1 + SLACK) * 1000)

    def take(state: State, now: int) -> tuple[State, Turn]:
        calls = [at for at in state.calls if at > now - span]
        for _ in range(min(requests, limit)):
            calls.append(max(now, state.until, calls[-limit] + span if len(calls) >= limit else 0))
        at = tuple(calls[-min(requests, limit) :])
        turn = Turn(key=key_of(account), at=at, wait=(at[-1] - now) / 1000, taken=time.monotonic())
        if turn.wait > patience:
            return state, turn
        return State(calls=tuple(sorted(calls)), until=state.until), turn

    turn = _change(key_of(account), take)
    if turn.wait > patience:
        raise OntraportUnavailable(
            "The requests that this Ontraport account allows in a minute are used up; try again in"
            f" {turn.wait:.0f} seconds.",
            code="rate_limited",
            retry_after=turn.wait,
        )
    return turn


def settle(turn: Turn) -> None:
    """Note that the requests of a turn have been answered by now. To be called when they have."""
    late = round((time.monotonic() - turn.taken) * 1000)
    if late <= (turn.wait + conf.ONTRAPORT_RATE_LIMIT[1] * SLACK) * 1000:
        return

    def move(state: State, now: int) -> tuple[State, None]:
        calls = list(state.calls)
        for at in turn.at:
            if at in calls:
                calls.remove(at)
                calls.append(now)
        return State(calls=tuple(sorted(calls)), until=state.until), None

    _change(turn.key, move)


def hold(account: OntraportAccount, seconds: float) -> None:
    """Let nobody call for that long: Ontraport said so, since others use the account too."""

    def stop(state: State, now: int) -> tuple[State, None]:
        return State(calls=state.calls, until=max(state.until, now + round(seconds * 1000))), None

    _change(key_of(account), stop)


@contextmanager
def turn(account: OntraportAccount, *, patience: float) -> Iterator[None]:
    """Wait for a turn, and use it. Raises as ``reserve`` does."""
    taken = reserve(account, patience=patience)
    time.sleep(taken.wait)
    try:
        yield
    finally:
        settle(taken)


def _change(key: str, step: Callable[[State, int], tuple[State, T]]) -> T:
    global _redis_is_away_until  # noqa: PLW0603  # one for the process, as the connection to Redis is
    store = redis_store() if time.monotonic() >= _redis_is_away_until else None
    if store is not None:
        try:
            return _replace(store, key, step)
        except RedisErrors as error:
            _redis_is_away_until = time.monotonic() + REDIS_PAUSE
            logger.warning("Redis does not answer (%s); calls are counted in the database.", type(error).__name__)

    def change() -> T:
        return _replace(DatabaseStore(), key, step)

    return change() if has_one_writer() else on_own_connection(change)


def _replace(store: Store, key: str, step: Callable[[State, int], tuple[State, T]]) -> T:
    while True:
        held: Held = store.load(key)
        state = State.read(held.state)
        changed, result = step(state, held.now)
        if changed == state or store.replace(key, held, changed.write()):
            return result
        time.sleep(random.uniform(0.001, 0.01))  # noqa: S311  # jitter
