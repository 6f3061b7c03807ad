"""Makes the nth SQL statement fail, in each of the ways in which databases fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, InternalError, OperationalError, connections
from django.db.backends.signals import connection_created

from tests.support.dialects import quoted

CONSTRAINED = tuple(f'INSERT INTO "ontraport_connect_ontraport{name}"' for name in ("account", "event"))
WRITES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a statement fails.

    ``is_done``: it was executed, and only its result is lost. ``cuts``: the connection is lost as well. Without an ``error`` the caller is
    not told: the next statement fails, or the commit.
    """

    error: Exception | None = None
    is_done: bool = False
    cuts: bool = False
    statements: tuple[str, ...] = ("",)


FAILURES = {
    "lost before it was executed": Failure(error=OperationalError("server closed the connection"), cuts=True),
    "lost after it was executed": Failure(
        error=OperationalError("server closed the connection"), cuts=True, is_done=True, statements=("SELECT", *WRITES)
    ),
    "executed on a connection that is lost then": Failure(cuts=True, is_done=True),
    "refused by a standby": Failure(error=InternalError("read-only transaction"), statements=WRITES),
    "refused by a constraint": Failure(error=IntegrityError("its user is gone"), statements=CONSTRAINED),
}


@dataclass(kw_only=True)
class NthFails:
    """An execute wrapper that lets statement ``number`` fail, on whichever connection it is sent. Threads have connections of their own."""

    number: int
    failure: Failure
    seen: int = 0
    failed: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with self.lock:
            self.seen += quoted(sql).startswith(self.failure.statements)
            is_next = self.seen == self.number and not self.failed
            self.failed = sql if is_next else self.failed
        if not is_next:
            return execute(sql, params, many, context)
        result = execute(sql, params, many, context) if self.failure.is_done else None
        if self.failure.cuts:
            self.cut(context["connection"])
        if self.failure.error is None:
            return result
        raise self.failure.error

    def cut(self, connection: Any) -> None:
        """Break the connection to a server database, and with it the transaction. Django notices at its next use."""
        connection.errors_occurred = True
        if connection.vendor != "sqlite":
            connection.connection.close()

    def watch(self, connection: Any, **kwargs: Any) -> None:
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)

    @contextmanager
    def installed(self) -> Iterator[None]:
        connections.close_all()
        connection_created.connect(self.watch)
        try:
            yield
        finally:
            connection_created.disconnect(self.watch)
            for connection in connections.all(initialized_only=True):
                with suppress(ValueError):
                    connection.execute_wrappers.remove(self)
            connections.close_all()
