"""How long a call may wait for its turn, or for the end of a 429, and where it must not wait at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured

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


def refuse_in_event_loop(call: str, twin: str) -> None:
    """Raise ``OntraportMisconfigured`` where a sync call would block an event loop that runs in this thread.

    As for Django's ORM, ``DJANGO_ALLOW_ASYNC_UNSAFE`` in the environment allows it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        raise OntraportMisconfigured(
            f"{call} would block the event loop that runs in this thread; use {twin}.", code="running_loop"
        )
