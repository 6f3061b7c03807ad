"""Who is acting now: a person on the pages, staff in the admin, or a command. Events of what somebody did carry the name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LONGEST_ACTOR = 200
"""Characters."""

_actor: ContextVar[Callable[[], str]] = ContextVar("ontraport_connect_actor", default=str)


@contextmanager
def acting(name: Callable[[], str]) -> Iterator[None]:
    """Let the events of this block carry the name that ``name()`` returns. It is called only when there is such an event."""
    token = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str:
    """Return the name of who acts now; an empty string where nobody does."""
    return _actor.get()()[:LONGEST_ACTOR]
