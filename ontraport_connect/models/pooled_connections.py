"""Connections that a pooler hands on after each transaction (pgbouncer): what a session is told there would concern others"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

OF_SAVEPOINTS = ("SAVEPOINT", "RELEASE", "ROLLBACK")


def is_pooled(connection: Any) -> bool:
    """Tell whether the connection may be one of these. Django needs ``DISABLE_SERVER_SIDE_CURSORS`` for them, so that it tells."""
    return connection.vendor == "postgresql" and bool(connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))


@contextmanager
def limited_transactions(connection: Any, seconds: int) -> Iterator[None]:
    """Within this block, no statement waits longer than ``seconds`` for a lock, which is said to one transaction at a time.

    A statement outside of any gets a transaction of its own, on the connection itself: Django need not know of it, and may look up another
    connection meanwhile (event loops have their own).
    """
    limit = f"SET LOCAL lock_timeout = '{seconds}s'"

    def limited(execute: Callable[..., T], sql: str, params: Any, many: bool, context: Any) -> T:
        if not connection.in_atomic_block:
            return _in_a_transaction(connection, limit, lambda: execute(sql, params, many, context))
        if not str(sql).startswith(OF_SAVEPOINTS):  # after an error, nothing else than to roll back is allowed
            _tell(connection, limit)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(limited):
        yield


def _in_a_transaction(connection: Any, limit: str, execute: Callable[[], T]) -> T:
    _tell(connection, f"BEGIN; {limit}")
    try:
        result = execute()
        _tell(connection, "COMMIT")
    except BaseException:
        try:
            _tell(connection, "ROLLBACK")
        except Exception:  # noqa: BLE001  # it is lost, or was interrupted in the middle of a statement
            connection.close()
        raise
    return result


def _tell(connection: Any, sql: str) -> None:
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        cursor.execute(sql)
