"""The moving window of the rate limiter as plain values: which calls were made, and when the next one may be.

All times are milliseconds on the clock of the store (Redis or the database). Nothing here reads or writes a store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ontraport_connect.conf import conf

SLACK = 1 / 60
"""Share of the window added to its end, for calls that take a while to reach Ontraport: one second of a minute."""

CLOCK_JITTER = 1000
"""Milliseconds by which the store's time may seem to go back without its clock being put back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is known of one Ontraport account: the times of its calls (past and reserved, oldest first), when a 429 ends, and the time of
    the store when this was last written.
    """

    calls: tuple[int, ...] = ()
    until: int = 0
    seen: int = 0

    @classmethod
    def read(cls, text: str) -> State:
        members = json.loads(text or "{}")
        return cls(calls=tuple(members.get("calls", ())), until=members.get("until", 0), seen=members.get("seen", 0))

    def as_of(self, now: int) -> State:
        """Return the state at the time ``now``. Where the store's clock was put back, all times are moved back with it."""
        back = self.seen - now
        if back <= CLOCK_JITTER:
            return replace(self, seen=now)
        return State(calls=tuple(at - back for at in self.calls), until=self.until - back, seen=now)

    def has_times_of(self, other: State) -> bool:
        return (self.calls, self.until) == (other.calls, other.until)

    def with_calls(self, calls: Iterable[int]) -> State:
        return replace(self, calls=tuple(sorted(calls)))

    def calls_without(self, turn: Turn) -> list[int]:
        """Return the calls except those of ``turn``, as far as they are still remembered."""
        calls = list(self.calls)
        for _ in range(min(turn.requests, calls.count(turn.at))):
            calls.remove(turn.at)
        return calls

    def write(self) -> str:
        return json.dumps({"calls": self.calls, "until": self.until, "seen": self.seen}, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The right to send ``requests`` requests at the time ``at``, which is ``wait`` seconds away.

    A turn that had to be waited for must be confirmed before it is used. ``began`` and ``give_up`` are ``time.monotonic`` seconds.
    """

    key: str
    requests: int
    at: int
    wait: float
    began: float
    give_up: float


def reserve(state: State, now: int, *, key: str, requests: int, began: float, patience: float) -> tuple[State, Turn]:
    """Reserve the next turn. The state is unchanged when the turn is more than ``patience`` seconds away."""
    calls = [at for at in state.calls if at > now - _span()]
    at = max(now, _earliest(calls, requests, state.until))
    turn = Turn(key=key, requests=requests, at=at, wait=(at - now) / 1000, began=began, give_up=began + patience)
    return (state if turn.wait > patience else state.with_calls([*calls, *[at] * requests])), turn


def confirm(state: State, now: int, *, turn: Turn, began: float, patience: float) -> tuple[State, Turn]:
    """Look at the window again when ``turn`` has come: earlier calls may have counted later than expected.

    Gives the turn back when it is now more than ``patience`` seconds away.
    """
    others = state.calls_without(turn)
    ahead = [each for each in others if each <= max(turn.at, now)]
    at = max(now, _earliest(ahead, turn.requests, state.until))
    again = replace(turn, at=at, wait=(at - now) / 1000, began=began)
    return state.with_calls(others if again.wait > patience else [*others, *[at] * turn.requests]), again


def move_to_now(state: State, now: int, *, turn: Turn) -> State:
    """Count the requests of ``turn`` as made now: they were on their way for long."""
    others = state.calls_without(turn)
    return state.with_calls([*others, *[now] * (len(state.calls) - len(others))])


def count_within(state: State, now: int, *, most: int, seconds: float) -> tuple[State, float]:
    """Count one more event, or return the seconds until one is allowed when there were ``most`` in the last ``seconds``."""
    calls = [at for at in state.calls if at > now - seconds * 1000]
    if len(calls) >= most:
        return state, calls[-most] / 1000 + seconds - now / 1000
    return state.with_calls([*calls, now]), 0.0


def slack() -> float:
    """Return the slack in seconds."""
    return conf.ONTRAPORT_RATE_LIMIT[1] * SLACK


def _span() -> int:
    """Return for how many milliseconds a call counts."""
    return round((conf.ONTRAPORT_RATE_LIMIT[1] + slack()) * 1000)


def _earliest(calls: Sequence[int], requests: int, until: int) -> int:
    """Return the first time at which ``requests`` more calls fit into the window behind ``calls``."""
    room = conf.ONTRAPORT_RATE_LIMIT[0] - requests + 1
    return max(until, calls[-room] + _span() if len(calls) >= room else 0)
