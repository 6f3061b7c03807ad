"""One connection for all of a refresh, also where greenlets share a thread (gevent, eventlet) and another one runs an event loop

While an event loop runs, Django refuses to work in its thread, and looks connections up elsewhere. Greenlets that have nothing to do with
the loop are refused, too, and from one statement to the next they find another connection, which is in no transaction of theirs.
"""

from __future__ import annotations

import os
import sys
import threading
from asyncio import AbstractEventLoop, _get_running_loop, _set_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")

ANY_LOOP: Any = object()

PERMISSION = "DJANGO_ALLOW_ASYNC_UNSAFE"
"""The variable in the environment with which Django works although an event loop runs. It is there for the whole process."""

_allowing = threading.Lock()
_allowed = 0
_outer: str | None = None
_held_by: ContextVar[tuple[int, str] | None] = ContextVar("ontraport_connection", default=None)


def are_threads_shared() -> bool:
    """Tell whether an event loop that runs in this thread may be that of other code."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool((gevent and gevent.is_module_patched("socket")) or (eventlet and eventlet.is_monkey_patched("socket")))


@contextmanager
def one_connection(name: str) -> Iterator[None]:
    """Within this block, where threads are shared, statements run whatever runs in this thread, and ``connections[name]`` is always the one
    that is found without an event loop. Blocks may be nested.
    """
    holder = (threading.get_ident(), name)
    if _held_by.get() == holder or not are_threads_shared():
        yield
        return
    outer = _held_by.set(holder)
    try:
        with async_unsafe_allowed(), _found_by_loops(name):
            yield
    finally:
        _held_by.reset(outer)


@contextmanager
def while_waiting() -> Iterator[None]:
    """Within this block, which uses no database, take the permission back. To others in this process it could do harm: a statement that
    Django would have refused may run outside of its transaction.
    """
    holder = _held_by.get()
    if holder is None or holder[0] != threading.get_ident():
        yield
        return
    _allow(-1)
    try:
        yield
    finally:
        _allow(1)


@contextmanager
def async_unsafe_allowed() -> Iterator[None]:
    """Let Django work in this process although event loops run."""
    _allow(1)
    try:
        yield
    finally:
        _allow(-1)


def _allow(number: int) -> None:
    """The site may have set the variable itself."""
    global _allowed, _outer  # noqa: PLW0603  # one environment for the process
    with _allowing:
        if not _allowed:
            _outer = os.environ.get(PERMISSION)
        _allowed += number
        if _allowed:
            os.environ[PERMISSION] = "true"
        elif _outer is None:
            os.environ.pop(PERMISSION, None)
        else:
            os.environ[PERMISSION] = _outer


@contextmanager
def _found_by_loops(name: str) -> Iterator[None]:
    """Let the connection that is found without an event loop be found with one, too."""
    found = _as_if_ran(None, lambda: connections[name])
    theirs = _as_if_ran(ANY_LOOP, lambda: _replace(name, found))
    try:
        yield
    finally:
        _as_if_ran(ANY_LOOP, lambda: _replace(name, theirs))


def _replace(name: str, connection: Any) -> Any:
    """Return the connection until now, or ``None`` where there was none, as ``connection`` may be."""
    before = {each.alias: each for each in connections.all(initialized_only=True)}.get(name)
    if connection is None:
        del connections[name]
    else:
        connections[name] = connection
    return before


def _as_if_ran(loop: AbstractEventLoop | None, step: Callable[[], T]) -> T:
    """Run a step, in which no greenlet is switched to, as if this loop ran in the thread, or none."""
    running = _get_running_loop()
    _set_running_loop(loop)
    try:
        return step()
    finally:
        _set_running_loop(running)
