"""Our share of what an Ontraport account allows: 180 requests in a rolling minute, REST and MCP together, over all processes of a site.

A call takes its turn before it is sent: the first moment at which the window has room, noted at once, so that those who wait stand in
line and nobody polls. What is noted is the time of the latest calls, one list for each Ontraport account, by the clock of the store.
A call that Ontraport may have counted later than noted, because it took long, is noted anew when it has ended, and who stood in line
behind it looks again before sending.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

from ontraport_connect.conf import conf
from ontraport_connect.database import has_one_writer, on_own_connection, unavailable_while_away
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import pause_of

from .rate_store import DatabaseStore, Held, RedisErrors, Store, redis_store

logger = logging.getLogger("ontraport_connect")
T = TypeVar("T")

SLACK = 1 / 60
"""Share of the window that is left over at its end, for calls that take a while to get there: a second of a minute."""

REDIS_PAUSE = 10.0
"""Seconds for which the database counts after Redis was away."""

_redis_is_away_until = 0.0
_patience: ContextVar[float | None] = ContextVar("patience", default=None)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Within this block, calls wait for their turn, or out a 429, for so many seconds at most, and not for ``ONTRAPORT_RATE_WAIT``."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def longest_wait() -> float:
    """Return the seconds that a call may wait for its turn, or out a 429."""
    chosen = _patience.get()
    return conf.ONTRAPORT_RATE_WAIT if chosen is None else chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """When an Ontraport account was called, or will be, and until when it must not be: in milliseconds, the oldest first."""

    calls: tuple[int, ...] = ()
    until: int = 0

    @classmethod
    def read(cls, text: str) -> State:
        members = json.loads(text or "{}")
        return cls(calls=tuple(members.get("calls", ())), until=members.get("until", 0))

    def of(self, calls: Iterable[int]) -> State:
        return replace(self, calls=tuple(sorted(calls)))

    def without(self, turn: Turn) -> list[int]:
        """Return the calls but those of this turn, if they are remembered still."""
        calls = list(self.calls)
        for _ in range(min(turn.requests, calls.count(turn.at))):
            calls.remove(turn.at)
        return calls

    def write(self) -> str:
        return json.dumps({"calls": self.calls, "until": self.until}, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The right to send so many requests at once, ``wait`` seconds from now; if that is more than none, confirm it then."""

    key: str
    requests: int
    at: int
    wait: float
    began: float
    give_up: float


def key_of(account: OntraportAccount) -> str:
    """Return what is counted together: an Ontraport account, however often and by whomever it is linked."""
    return account.ontraport_id or str(account.uid)


def reserve(account: OntraportAccount, *, patience: float, requests: int = 1) -> Turn:
    """Take the next turn, to send so many requests at once.

    Raises ``OntraportUnavailable`` with code ``rate_limited`` when it would come later than ``patience`` seconds from now.
    """
    key = key_of(account)
    requests = min(requests, conf.ONTRAPORT_RATE_LIMIT[0])
    began = time.monotonic()

    def take(state: State, now: int) -> tuple[State, Turn]:
        calls = [at for at in state.calls if at > now - _span()]
        at = max(now, _earliest(calls, requests, state.until))
        wait = (at - now) / 1000
        turn = Turn(key=key, requests=requests, at=at, wait=wait, began=began, give_up=began + patience)
        return (state if wait > patience else state.of([*calls, *[at] * requests])), turn

    turn = _change(key, take)
    if turn.wait > patience:
        raise _used_up(turn)
    return turn


def confirm(turn: Turn) -> Turn:
    """Look again when a turn has come: those ahead may have been late, and then it is put off by as much.

    Raises as ``reserve`` does, and gives the turn back then.
    """
    began = time.monotonic()
    patience = max(0.0, turn.give_up - began) + _slack()

    def look(state: State, now: int) -> tuple[State, Turn]:
        others = state.without(turn)
        ahead = [each for each in others if each <= max(turn.at, now)]
        at = max(now, _earliest(ahead, turn.requests, state.until))
        again = replace(turn, at=at, wait=(at - now) / 1000, began=began)
        return state.of(others if again.wait > patience else [*others, *[at] * turn.requests]), again

    again = _change(turn.key, look)
    if again.wait > patience:
        raise _used_up(again)
    return again


def _used_up(turn: Turn) -> OntraportUnavailable:
    return OntraportUnavailable(
        "The requests that this Ontraport account allows in a minute are used up; try again in"
        f" {turn.wait:.0f} seconds.",
        code="rate_limited",
        retry_after=turn.wait,
    )


def _slack() -> float:
    return conf.ONTRAPORT_RATE_LIMIT[1] * SLACK


def _span() -> int:
    """Return the milliseconds for which a call counts."""
    return round((conf.ONTRAPORT_RATE_LIMIT[1] + _slack()) * 1000)


def _earliest(calls: Sequence[int], requests: int, until: int) -> int:
    """Return the first moment at which so many requests find room behind ``calls``."""
    room = conf.ONTRAPORT_RATE_LIMIT[0] - requests + 1
    return max(until, calls[-room] + _span() if len(calls) >= room else 0)


def settle(turn: Turn) -> None:
    """Note that the requests of a turn have been answered by now. To be called when they have."""
    if time.monotonic() - turn.began <= _slack():
        return

    def move(state: State, now: int) -> tuple[State, None]:
        others = state.without(turn)
        return state.of([*others, *[now] * (len(state.calls) - len(others))]), None

    _note(turn.key, move)


def hold(account: OntraportAccount, seconds: float) -> None:
    """Let nobody call for that long: Ontraport said so, since others use the account too."""

    def stop(state: State, now: int) -> tuple[State, None]:
        return replace(state, until=max(state.until, now + round(seconds * 1000))), None

    _note(key_of(account), stop)


def throttle(key: str, *, most: int, seconds: float) -> float:
    """Count one more of what may be done ``most`` times in ``seconds``, or return the seconds until it may be done again. What cannot be
    counted may be done.
    """

    def count(state: State, now: int) -> tuple[State, float]:
        calls = [at for at in state.calls if at > now - seconds * 1000]
        if len(calls) >= most:
            return state, calls[-most] / 1000 + seconds - now / 1000
        return state.of([*calls, now]), 0.0

    try:
        return _change(key, count)
    except OntraportUnavailable:
        return 0.0


def take(account: OntraportAccount, *, patience: float) -> Turn:
    """Wait for a turn. Raises as ``reserve`` and ``confirm`` do."""
    taken = reserve(account, patience=patience)
    while taken.wait:
        time.sleep(taken.wait)
        taken = confirm(taken)
    return taken


def note_answer(account: OntraportAccount, turn: Turn, status: int, headers: Mapping[str, str]) -> None:
    """Note how a request went that took a turn."""
    settle(turn)
    if status == 429:
        hold(account, pause_of(headers))


@contextmanager
def turn(account: OntraportAccount, *, patience: float) -> Iterator[None]:
    """Wait for a turn, and use it. Raises as ``reserve`` does."""
    taken = take(account, patience=patience)
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

    with unavailable_while_away():
        return change() if has_one_writer() else on_own_connection(change)


def _note(key: str, step: Callable[[State, int], tuple[State, None]]) -> None:
    """Change what is known once a call was made: its answer must not be lost for that."""
    try:
        _change(key, step)
    except OntraportUnavailable as error:
        logger.warning("A call of Ontraport could not be counted: %s", error)


def _replace(store: Store, key: str, step: Callable[[State, int], tuple[State, T]]) -> T:
    while True:
        held: Held = store.load(key)
        state = State.read(held.state)
        changed, result = step(state, held.now)
        if changed == state or store.replace(key, held, changed.write()):
            return result
        time.sleep(random.uniform(0.001, 0.01))  # noqa: S311  # jitter
