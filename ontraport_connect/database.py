"""Writes that stay, whatever becomes of the transaction that the caller is in.

A refresh token is spent the moment Ontraport answers. What came for it must be saved even when the page that asked is rolled back:

- outside a transaction, each statement commits by itself;
- inside one, on a server database, a connection of its own (in a thread of its own, as Django binds connections to threads) writes;
- inside one, on SQLite, which has one writer, or on a row that only this transaction sees or holds, the caller's connection writes, and
  what it wrote is written again when the transaction has ended without it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .models import OntraportAccount

T = TypeVar("T")

LOCK_TIMEOUT = 1.0
"""Seconds that a connection of its own waits for a row which the caller's transaction may be holding."""


def alias() -> str:
    """Return the database that holds the accounts."""
    return router.db_for_write(OntraportAccount)


def in_transaction() -> bool:
    connection = connections[alias()]
    return connection.in_atomic_block or not connection.get_autocommit()


def has_one_writer() -> bool:
    return connections[alias()].vendor == "sqlite"


def on_own_connection(step: Callable[[], T]) -> T:
    """Run ``step`` where each of its statements commits by itself. Raises what it raises."""
    if not in_transaction():
        return step()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ontraport-save") as thread:
        return thread.submit(_run_and_close, step).result()


def _run_and_close(step: Callable[[], T]) -> T:
    connection = connections[alias()]
    try:
        with transaction.atomic(using=alias()):
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT:.0f}s"])
            return step()
    finally:
        connection.close()


def when_transaction_ends(step: Callable[[], Any]) -> None:
    """Run ``step`` when the caller's outermost transaction has ended, be it by commit or by rollback.

    Django offers ``on_commit`` only, which a rollback forgets; both ways end in ``set_autocommit(True)``.
    """
    connection = connections[alias()]
    original = connection.set_autocommit

    def set_autocommit(autocommit: bool, *args: Any, **kwargs: Any) -> None:
        original(autocommit, *args, **kwargs)
        if autocommit:
            _restore(connection, original)
            step()

    setattr(connection, "set_autocommit", set_autocommit)  # noqa: B010  # mypy knows that methods are not assigned to


def _restore(connection: BaseDatabaseWrapper, original: Callable[..., None]) -> None:
    if getattr(original, "__self__", None) is connection:
        vars(connection).pop("set_autocommit", None)
    else:
        setattr(connection, "set_autocommit", original)  # noqa: B010  # the hook of an earlier save
