"""Which database holds the accounts, as the site's routers say: asked once for all that belongs to one refresh"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import router

from .account import OntraportAccount
from .one_connection import one_connection

_chosen: ContextVar[str | None] = ContextVar("ontraport_database", default=None)


def alias() -> str:
    """Return the database that holds the accounts."""
    return _chosen.get() or router.db_for_write(OntraportAccount)


@contextmanager
def one_database() -> Iterator[None]:
    """Within this block ask no router again: what is claimed in one database is saved there, also by another thread, where a router knows
    nothing of the request; and by one connection, whatever event loops other greenlets run (see ``one_connection``).
    """
    outer = _chosen.set(alias())
    try:
        with one_connection(alias()):
            yield
    finally:
        _chosen.reset(outer)


@contextmanager
def any_database() -> Iterator[None]:
    """Within this block, which runs code of the site, ask the routers again."""
    outer = _chosen.set(None)
    try:
        yield
    finally:
        _chosen.reset(outer)
