"""Writes that stay, whatever becomes of the transaction that the caller is in.

A refresh token is spent the moment Ontraport answers. What came for it must be saved even when the page that asked is rolled back:

- outside a transaction, each statement commits by itself;
- inside one, on a server database, a connection of its own (in a thread of its own, as Django binds connections to threads) writes;
- inside one, on SQLite, which has one writer, or on a row that only this transaction sees or holds, the caller's connection writes, and
  what it wrote is written again when the transaction has ended without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from .exceptions import OntraportUnavailable
from .models import OntraportAccount

T = TypeVar("T")

DATABASE_IS_AWAY = (OperationalError, InterfaceError, InternalError)
"""``InternalError`` is how PostgreSQL refuses a write while a standby takes over."""

LOCK_TIMEOUT = 1.0
"""Seconds that a connection of its own waits for a row which the caller's transaction may be holding."""


def alias() -> str:
    """Return the database that holds the accounts."""
    return router.db_for_write(OntraportAccount)


def in_transaction() -> bool:
    """Tell without connecting, which fails while the database is away."""
    connection = connections[alias()]
    is_open = connection.connection is not None
    return connection.in_atomic_block or not (
        connection.autocommit if is_open else connection.settings_dict["AUTOCOMMIT"]
    )


@contextmanager
def unavailable_while_away() -> Iterator[None]:
    """Raise ``OntraportUnavailable`` where the database is away."""
    try:
        yield
    except DATABASE_IS_AWAY as error:
        if not in_transaction():
            connections[alias()].close_if_unusable_or_obsolete()
        raise OntraportUnavailable("The database is not there now.", code="database", retry_after=1.0) from error


def has_one_writer() -> bool:
    return connections[alias()].vendor == "sqlite"


def row_lock() -> dict[str, bool]:
    """Return the arguments with which ``select_for_update`` passes over rows that another transaction holds, and waits for none."""
    features = connections[alias()].features
    return {
        "skip_locked": features.has_select_for_update_skip_locked,
        "no_key": features.has_select_for_no_key_update,
    }


def on_own_connection(step: Callable[[], T]) -> T:
    """Run ``step`` where each of its statements commits by itself, and to its end even when the caller is interrupted."""
    if not in_transaction():
        return step()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ontraport-own") as thread:
        return thread.submit(copy_context().run, _run_and_close, step).result()


def _run_and_close(step: Callable[[], T]) -> T:
    connection = connections[alias()]
    has_lock_timeout = connection.vendor == "postgresql"
    try:
        if has_lock_timeout:
            _execute(connection, f"SET lock_timeout = '{LOCK_TIMEOUT:.0f}s'")
        return step()
    finally:
        if has_lock_timeout and connection.connection is not None:
            with suppress(DatabaseError, InterfaceError):  # a pool hands the connection to others
                _execute(connection, "RESET lock_timeout")
        connections.close_all()


def _execute(connection: BaseDatabaseWrapper, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


class _Ending:
    """Stands in for the ``set_autocommit`` of one connection until its transaction has ended, then runs what was left with it.

    Django offers ``on_commit`` only, which a rollback forgets; both ways end in ``set_autocommit(True)``.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.original = connection.set_autocommit
        self.replaced = vars(connection).get("set_autocommit")
        self.connection = connection
        self.steps: list[Callable[[], object]] = []

    def __call__(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        if not autocommit:
            return self.original(autocommit, *args, **kwargs)
        vars(self.connection).pop("set_autocommit")
        if self.replaced is not None:
            vars(self.connection)["set_autocommit"] = self.replaced
        try:
            self.original(autocommit, *args, **kwargs)
        finally:
            self.run()

    def run(self) -> None:
        for step in self.steps:
            step()


def when_transaction_ends(step: Callable[[], object]) -> None:
    """Run ``step`` when the caller's outermost transaction has ended, be it by commit or by rollback. It must not raise."""
    connection = connections[alias()]
    ending = vars(connection).get("set_autocommit")
    if not isinstance(ending, _Ending):
        ending = vars(connection)["set_autocommit"] = _Ending(connection)
    ending.steps.append(step)


def run_steps_of_ending() -> None:
    """Run now, too, what is to be run when the transaction ends: a savepoint that was rolled back may have undone it already."""
    ending = vars(connections[alias()]).get("set_autocommit")
    if isinstance(ending, _Ending):
        ending.run()
