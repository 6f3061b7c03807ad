"""The moving window of the rate limiter as plain values: which calls were made, and when the next one may be.

All times are milliseconds on the clock of the store (Redis or the database). Nothing here reads or writes a store. ``rate_statements`` has
the rule of ``reserve`` once more, in SQL and in Lua.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ontraport_connect.conf import conf

SLACK = 1 / 60
"""Share of the window added to its end, for calls that take a while to reach Ontraport: one second of a minute."""

CLOCK_JITTER = 1000
"""Milliseconds by which the store's time may seem to go back without its clock being put back."""

DIGITS = 13
"""The width of a time in the text of a state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """At most ``most`` calls in any ``span`` milliseconds."""

    most: int
    span: int


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is known of one Ontraport account: the times of its calls (past and reserved, oldest first), when a 429 ends, and the time of
    the store when this was last written.

    Its text is made of times of 13 digits: ``until``, ``seen``, and the calls.
    """

    calls: tuple[int, ...] = ()
    until: int = 0
    seen: int = 0

    @classmethod
    def read(cls, text: str) -> State:
        if not text.isdigit():
            return cls()
        until, seen, *calls = (int(text[at : at + DIGITS]) for at in range(0, len(text), DIGITS))
        return cls(calls=tuple(sorted(calls)), until=until, seen=seen)

    def as_of(self, now: int) -> State:
        """Return the state at the time ``now``. Where the store's clock was put back, all times are moved back with it."""
        back = self.seen - now
        if back <= CLOCK_JITTER:
            return replace(self, seen=now)
        return State(calls=tuple(at - back for at in self.calls), until=max(0, self.until - back), seen=now)

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
        return "".join(f"{at:0{DIGITS}d}" for at in (self.until, self.seen, *self.calls))


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


class Slot(NamedTuple):
    """The time at which requests may be sent, and the time now."""

    at: int
    now: int

    @property
    def wait(self) -> float:
        """Seconds until then."""
        return (self.at - self.now) / 1000


def reserve(state: State, now: int, *, window: Window, requests: int, patience: float) -> tuple[State, Slot]:
    """Reserve the next slot for ``requests`` requests that are sent together.

    The state is unchanged when the slot is more than ``patience`` seconds away.
    """
    calls = [at for at in state.calls if at > now - window.span]
    slot = Slot(max(now, _earliest(calls, requests, state.until, window)), now)
    return (state if slot.wait > patience else state.with_calls([*calls, *[slot.at] * requests])), slot


def confirm(state: State, now: int, *, window: Window, turn: Turn, began: float, patience: float) -> tuple[State, Turn]:
    """Look at the window again when ``turn`` has come: earlier calls may have counted later than expected.

    The state is unchanged when the turn stands. Gives it back when it is now more than ``patience`` seconds away.
    """
    others = state.calls_without(turn)
    ahead = [each for each in others if each <= max(turn.at, now)]
    at = max(now, _earliest(ahead, turn.requests, state.until, window))
    if at == now and now - turn.at <= slack() * 500:
        return state, replace(turn, wait=0.0, began=began)
    again = replace(turn, at=at, wait=(at - now) / 1000, began=began)
    return state.with_calls(others if again.wait > patience else [*others, *[at] * turn.requests]), again


def move_to_now(state: State, now: int, *, turn: Turn) -> State:
    """Count the requests of ``turn`` as made now: they were on their way for long."""
    others = state.calls_without(turn)
    return state.with_calls([*others, *[now] * (len(state.calls) - len(others))])


def slack() -> float:
    """Return the slack in seconds."""
    return conf.ONTRAPORT_RATE_LIMIT[1] * SLACK


def window_of_an_account() -> Window:
    """Return the window that ``ONTRAPORT_RATE_LIMIT`` allows, with the slack."""
    most, seconds = conf.ONTRAPORT_RATE_LIMIT
    return Window(most=most, span=round((seconds + slack()) * 1000))


def _earliest(calls: Sequence[int], requests: int, until: int, window: Window) -> int:
    """Return the first time at which ``requests`` more calls fit into the window behind ``calls``."""
    room = window.most - requests + 1
    return max(until, calls[-room] + window.span if len(calls) >= room else 0)
