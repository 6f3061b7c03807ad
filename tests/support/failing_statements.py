"""Make the nth SQL statement of a flow fail, in each way in which a database fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, InternalError, OperationalError, connections
from django.db.backends.signals import connection_created

CONSTRAINED = tuple(f'INSERT INTO "ontraport_connect_ontraport{name}"' for name in ("account", "event"))
WRITES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """``is_done``: the statement was executed, and what is lost is the word of it. ``cuts``: the connection is lost with it. Without an
    ``error`` nobody is told, so that the next statement fails, or the commit.
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
    """Lets one statement fail, of whatever connection: the threads have connections of their own."""

    number: int
    failure: Failure
    seen: int = 0
    failed: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with self.lock:
            self.seen += sql.startswith(self.failure.statements)
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
        """Lose the connection of a server database, and with it the transaction; Django finds out when it looks."""
        connection.errors_occurred = True
        if connection.vendor == "postgresql":
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
