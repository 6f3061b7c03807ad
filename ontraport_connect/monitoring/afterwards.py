"""Log lines and signals wait until nothing is in memory that exists nowhere else: code of the site that gets them may take any time"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_waiting: ContextVar[deque[Callable[[], object]] | None] = ContextVar("ontraport_waiting", default=None)


def tell(step: Callable[[], object]) -> None:
    """Run ``step``, which tells the site something: now, or at the end of a block of ``told_afterwards``."""
    waiting = _waiting.get()
    if waiting is None:
        step()
    else:
        waiting.append(step)


@contextmanager
def told_afterwards() -> Iterator[None]:
    """Within this block, and in threads that carry its context, nothing is told; all of it is at the end. What ends a process there (a
    ``BaseException``) is raised when the rest was told; Ctrl-C for the second time, at once.
    """
    waiting: deque[Callable[[], object]] = deque()
    outer = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(outer)
        _tell_all(waiting)


def _tell_all(waiting: deque[Callable[[], object]]) -> None:
    first: BaseException | None = None
    while waiting:
        try:
            tell(waiting.popleft())
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and isinstance(first, KeyboardInterrupt):
                raise
            first = first or error
    if first is not None:
        raise first
