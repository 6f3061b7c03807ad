"""Which database holds the accounts, as the site's routers say: asked once for all that belongs to one refresh, or to one link"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import router

from .account import OntraportAccount

_chosen: ContextVar[str | None] = ContextVar("ontraport_database", default=None)


def alias() -> str:
    """Return the database that holds the accounts."""
    return _chosen.get() or router.db_for_write(OntraportAccount)


@contextmanager
def one_database() -> Iterator[None]:
    """Within this block, ask no router again: what is claimed in one database is saved there, and nothing of the site can keep it from
    being saved once its token is spent.
    """
    outer = _chosen.set(alias())
    try:
        yield
    finally:
        _chosen.reset(outer)
