"""One background event loop per process, in which sync code runs coroutines.

No event loop may run in a thread that serves anything else. Under gevent and eventlet, all greenlets of such a thread would find
themselves inside a running event loop, where Django refuses its ORM. So the loop has an operating-system thread of its own, also where
``threading`` is monkey-patched, and callers wait for it cooperatively: the other greenlets of their thread go on.

The first call starts the loop; so does the first call in a forked child. It ends with the interpreter.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from types import BuiltinFunctionType
from typing import Any, Protocol, TypeVar

from ontraport_connect.exceptions import OntraportUnavailable

T = TypeVar("T")

STOP_WITHIN = 2.0
"""Seconds that the end of the interpreter waits for the loop to end."""


def run_in_background(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` in the background loop, and return what it returns or raise what it raises.

    When the caller is interrupted (Ctrl-C, a soft time limit, a gevent timeout), the coroutine is cancelled. Raises
    ``OntraportUnavailable`` when no thread can be started, or when the process ends meanwhile.
    """
    pid = os.getpid()
    return _loops.setdefault(pid, BackgroundLoop(pid)).run(main)


class BackgroundLoop:
    """The event loop of the process ``pid``. The first call starts its thread."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = (
            _real_thread_module().allocate_lock()
        )  # held for moments only: it blocks a whole thread of greenlets
        self._ended = _real_thread_module().allocate_lock()
        self._waiting: deque[_Call] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_started = False

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        call = _Call(main)
        self._submit(call)
        try:
            call.ended.wait()
        except BaseException:
            self._wake(call.cancel)
            raise
        finally:
            call.ended.close()
        return call.result()  # type: ignore[no-any-return]

    def _submit(self, call: _Call) -> None:
        with self._lock:
            self._waiting.append(call)
            if not self._is_started:
                self._start()
        self._wake(self._begin_waiting)

    def _start(self) -> None:
        self._ended = _real_thread_module().allocate_lock()
        self._ended.acquire()
        try:
            _start_real_thread(self._serve)
        except RuntimeError:  # no thread is left, or the process is ending
            self._waiting.clear()
            raise OntraportUnavailable("No thread could be started.", code="no_thread", retry_after=5.0) from None
        self._is_started = True
        atexit.register(self.stop)

    def _wake(self, step: Callable[[], object]) -> None:
        """Run ``step`` in the loop. A loop that is about to start looks at the waiting calls by itself."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(step)

    def _begin_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().begin()

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.call_soon(self._begin_waiting)
            with self._lock:
                self._loop = loop
            loop.run_forever()
            loop.run_until_complete(_cancel_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            with self._lock:
                self._loop, self._is_started = None, False
            loop.close()
            self._ended.release()

    def stop(self) -> None:
        """End the loop and its thread. A forked child does nothing: the thread is its parent's."""
        loop = self._loop
        if loop is not None and os.getpid() == self._pid:
            atexit.unregister(self.stop)
            loop.call_soon_threadsafe(loop.stop)
            self._ended.acquire(timeout=STOP_WITHIN)


async def _cancel_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Call:
    """A coroutine that the loop runs while its caller waits."""

    def __init__(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._main = main
        self._context = copy_context()
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False
        self.ended: _Signal = _PipeSignal() if _is_green() else _LockSignal()

    def begin(self) -> None:
        if self._is_cancelled:
            return
        self._task = asyncio.get_running_loop().create_task(self._main(), context=self._context)
        self._task.add_done_callback(lambda task: self.ended.set())

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()

    def result(self) -> Any:
        if self._task is None or self._task.cancelled():
            raise OntraportUnavailable("The process is ending.", code="ending")
        return self._task.result()


class _Signal(Protocol):
    """Set once by the loop's thread; awaited and closed by the caller's."""

    def set(self) -> None: ...

    def wait(self) -> None: ...

    def close(self) -> None: ...


class _LockSignal:
    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        self._lock.release()

    def wait(self) -> None:
        self._lock.acquire()

    def close(self) -> None:
        """Nothing is left open."""


class _PipeSignal:
    """For greenlets: ``select`` is what gevent and eventlet both make cooperative, and a pipe works between any two threads."""

    def __init__(self) -> None:
        self._lock = _real_thread_module().allocate_lock()
        self._is_open = True
        self._read, self._write = os.pipe()

    def set(self) -> None:
        with self._lock:
            if self._is_open:
                os.write(self._write, b"\0")

    def wait(self) -> None:
        select.select([self._read], [], [])

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            os.close(self._read)
            os.close(self._write)


def _is_green() -> bool:
    """Tell whether waiting is cooperative here, because gevent or eventlet has patched the standard library."""
    return not isinstance(select.select, BuiltinFunctionType)


def _start_real_thread(target: Callable[[], None]) -> None:
    if _is_green():
        _real_thread_module().start_new_thread(target, ())
    else:
        threading.Thread(target=target, name="ontraport-loop", daemon=True).start()


def _real_thread_module() -> Any:
    """Return ``_thread`` as it was before gevent or eventlet patched it. Imports neither."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None:
        return _BeforeGevent(gevent)
    return _thread if eventlet is None else eventlet.original("_thread")


class _BeforeGevent:
    """``_thread`` without the patches of gevent."""

    def __init__(self, monkey: Any) -> None:
        self.allocate_lock, self.start_new_thread = monkey.get_original(
            "_thread", ["allocate_lock", "start_new_thread"]
        )


_loops: dict[int, BackgroundLoop] = {}
"""By process id: a forked child starts its own. The loop of its parent, which it has inherited, must be left alone."""
