"""How long a call may wait for its turn, or for the end of a 429, and where it must not wait at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured

REQUEST_WAIT = 5.0
"""Seconds that a call waits at most in a web request: who waits longer keeps a thread from everybody else."""

_patience: ContextVar[float | None] = ContextVar("patience", default=None)
_is_in_request: ContextVar[bool] = ContextVar("is_in_request", default=False)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let calls in this block wait for at most ``seconds``, whatever the default is here."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


@contextmanager
def in_request() -> Iterator[None]:
    """Mark this block as part of a web request, in which calls wait for a few seconds only. The middleware does that."""
    token = _is_in_request.set(True)
    try:
        yield
    finally:
        _is_in_request.reset(token)


def longest_wait() -> float:
    """Return the number of seconds that a call may wait here and now.

    That is what ``patience`` says, or else ``ONTRAPORT_RATE_WAIT``, of which a web request gets a few seconds.
    """
    chosen = _patience.get()
    if chosen is not None:
        return chosen
    return min(conf.ONTRAPORT_RATE_WAIT, REQUEST_WAIT) if _is_in_request.get() else conf.ONTRAPORT_RATE_WAIT


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
