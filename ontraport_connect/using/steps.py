"""Calls as sequences of steps, which sync and async code run in their own ways.

Steps that may use the database run in the caller's thread, or for async code in Django's thread for sync code, so that no database
connection is left behind elsewhere. Steps that wait for the network block the caller's thread, which under gevent lets others go on; async
code has a thread for each, which ends with it. No event loop is needed anywhere.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from ontraport_connect.exceptions import OntraportUnavailable


@dataclass(frozen=True, slots=True)
class OffLoop:
    """A step that waits for the network, and does not use the database."""

    run: Callable[[], Any]


Step = float | OffLoop | Callable[[], Any]
"""Seconds to sleep, something that waits for the network, or a function that may use the database."""

Steps = Generator[Step, Any, Any]


def run(steps: Steps) -> Any:
    """Run the steps in the caller's thread, and return what they return."""
    advance = partial(steps.send, None)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            return end.value
        try:
            advance = partial(steps.send, _do(step))
        except BaseException as error:  # noqa: BLE001  # it is for the generator to handle, or to raise after it has cleaned up
            advance = partial(steps.throw, error)


def _do(step: Step) -> Any:
    if isinstance(step, float):
        return time.sleep(step)
    return step.run() if isinstance(step, OffLoop) else step()


async def arun(steps: Steps) -> Any:
    """Run the steps without blocking the caller's event loop, and return what they return."""
    advance = partial(steps.send, None)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            return end.value
        try:
            advance = partial(steps.send, await _ado(step))
        except BaseException as error:  # noqa: BLE001  # as above
            advance = partial(steps.throw, error)


async def _ado(step: Step) -> Any:
    if isinstance(step, float):
        return await asyncio.sleep(step)
    return await (in_thread(step.run) if isinstance(step, OffLoop) else sync_to_async(step)())


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a thread of its own. When the caller is cancelled it goes on, up to its own deadline, and nobody hears of it.

    Raises ``OntraportUnavailable`` when no thread can be started.
    """
    loop = asyncio.get_running_loop()
    outcome = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is None:
            outcome.set_result(value)
        else:
            outcome.set_exception(error)

    def target() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as raised:  # noqa: BLE001  # raised by the caller
            error = raised
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, value, error)

    thread = threading.Thread(target=copy_context().run, args=[target], name="ontraport-call", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise OntraportUnavailable("No thread could be started.", code="no_thread", retry_after=5.0) from None
    return await outcome
