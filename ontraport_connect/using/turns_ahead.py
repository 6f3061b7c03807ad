"""Turns for requests that follow one another: the pages of a list reserve several at once, so that few round trips are made"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error as DatabaseFailure

from ontraport_connect.models import OntraportAccount

from . import rate_limiter, rate_window
from .rate_window import Turn

MOST_AHEAD = 8
"""Turns that are reserved at once at most: others wait for what one list does not use after all."""

SHARE = 16
"""No more than one of so many calls that the window allows is reserved ahead."""


class TurnsAhead(rate_limiter.Turns):
    """Turns for the pages of one list: one, then two, four, eight at once, as long as the window has room for all of them now.

    Each is used soon after it was reserved, within half of the slack that the window has for calls on their way. What is left then, or when
    the list ends or fails, is given back, so that what was sent is counted and nothing else. What an abandoned list has left passes with
    the window. For one thread at a time.
    """

    def __init__(self, account: OntraportAccount) -> None:
        super().__init__(account)
        self._process = os.getpid()
        self._block: Turn | None = None
        self._unused = 0

    @contextmanager
    def turn(self, *, patience: float) -> Iterator[None]:
        turn = self._next(patience)
        try:
            yield
        finally:
            if rate_limiter.took_long(turn):
                self.give_back()
            rate_limiter.settle(turn)

    def hold(self, seconds: float) -> None:
        self.give_back()
        super().hold(seconds)

    def give_back(self) -> None:
        """Give back what was reserved and not used. Where the database must not be used, it passes with the window."""
        unused, self._unused = self._unused, 0
        if unused and self._block is not None and self._process == os.getpid():
            with suppress(DatabaseFailure, SynchronousOnlyOperation):
                rate_limiter.give_back(replace(self._block, requests=unused))

    def _next(self, patience: float) -> Turn:
        block = self._block
        if block is None or not self._unused or self._process != os.getpid() or not _is_fresh(block):
            size = 1 if block is None else self._size_after(block)
            self.give_back()
            block = self._block = rate_limiter.take_together(self._account, size, patience=patience)
            self._process, self._unused = os.getpid(), block.requests
        else:
            rate_limiter.report_turn(block)
        self._unused -= 1
        return replace(block, requests=1)

    def _size_after(self, block: Turn) -> int:
        """Return how many turns to reserve next: twice as many, but no more than can be used in time at the pace of the last ones."""
        pace = (time.monotonic() - block.began) / (block.requests - self._unused)
        in_time = 1 + int(_freshness() / max(pace, 0.001))
        allowed = rate_window.window_of_an_account().most // SHARE
        return max(1, min(2 * block.requests, in_time, allowed, MOST_AHEAD))


def _is_fresh(turn: Turn) -> bool:
    return time.monotonic() - turn.began <= _freshness()


def _freshness() -> float:
    """Return for how many seconds a turn may be used; ``rate_window.confirm`` has the same rule."""
    return rate_window.slack() / 2
