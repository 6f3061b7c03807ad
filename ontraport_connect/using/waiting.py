"""How long a call may wait for its turn, or for the end of a 429."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ontraport_connect.conf import conf

_patience: ContextVar[float | None] = ContextVar("patience", default=None)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let calls in this block wait for at most ``seconds``, instead of ``ONTRAPORT_RATE_WAIT``."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def longest_wait() -> float:
    """Return the number of seconds that a call may wait here and now."""
    chosen = _patience.get()
    return conf.ONTRAPORT_RATE_WAIT if chosen is None else chosen
