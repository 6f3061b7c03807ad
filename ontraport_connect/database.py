"""Writes that stay, whatever becomes of the transaction that the caller is in.

A refresh token is spent the moment Ontraport answers. What came for it must be saved even when the page that asked is rolled back:

- outside a transaction, each statement commits by itself;
- inside one, on a server database, a connection of its own (in a thread of its own, as Django binds connections to threads) writes;
- SQLite has one writer, which is the caller's transaction: see ``refreshing.spent_tokens`` for what is done there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connections, transaction
from django.db import Error as DatabaseFailure

from .exceptions import OntraportError, OntraportUnavailable
from .models import (
    alias,
    any_database,
    autocommitting,
    is_pooled,
    limited_transactions,
    on_new_connection,
    one_database,
    while_waiting,
)

__all__ = ["alias", "any_database", "autocommitting", "one_database", "while_waiting"]  # beside what is defined here

T = TypeVar("T")

DATABASE_IS_AWAY = (OperationalError, InterfaceError, InternalError)
"""``InternalError`` is how PostgreSQL refuses a write while a standby takes over."""

LOCK_TIMEOUT = 1
"""Seconds that a write of this app waits for a row which somebody else holds."""

PATIENCE = 120.0
"""Seconds that a write is tried again while the database is away."""

PATIENCE_ASIDE = 15.0
"""The same for a write outside of the caller's transaction, which is open meanwhile and may be able to save what this write cannot."""

LOCK_TIMEOUTS: dict[str, tuple[str, str, Sequence[str | int], str]] = {
    "postgresql": (
        "SELECT current_setting('lock_timeout')",
        "SELECT set_config('lock_timeout', %s, false)",
        (f"{LOCK_TIMEOUT}s",),
        "RESET lock_timeout",
    ),
    "mysql": (
        "SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout",
        "SET SESSION innodb_lock_wait_timeout = %s, lock_wait_timeout = %s",
        (LOCK_TIMEOUT, LOCK_TIMEOUT),
        "SET SESSION innodb_lock_wait_timeout = DEFAULT, lock_wait_timeout = DEFAULT",
    ),
}
"""For each vendor: how to ask a connection how long it waits for locks, how to tell it, what it is told, and how it forgets that."""


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
    """Tell whether a transaction of the caller keeps every other connection from writing."""
    return connections[alias()].vendor == "sqlite"


def row_lock() -> dict[str, bool]:
    """Return the arguments with which ``select_for_update`` passes over rows that another transaction holds, and waits for none."""
    features = connections[alias()].features
    return {
        "skip_locked": features.has_select_for_update_skip_locked,
        "no_key": features.has_select_for_no_key_update,
    }


def passes_over_locked_rows_in_one() -> bool:
    """Tell whether an UPDATE passes over the rows that its subquery passes over. MySQL's waits for them all the same."""
    return connections[alias()].vendor != "mysql"


def on_own_connection(step: Callable[[], T]) -> T:
    """Run ``step`` where each of its statements commits by itself, and to its end even when the caller is interrupted."""
    return elsewhere(step) if in_transaction() else step()


def elsewhere(step: Callable[[], T]) -> T:
    """Run ``step`` on a new connection. Raises ``RuntimeError`` where no thread can be started for that."""

    def limited() -> T:
        with short_lock_waits():
            return step()

    return on_new_connection(limited)


_are_waits_short: ContextVar[bool] = ContextVar("ontraport_short_lock_waits", default=False)


@contextmanager
def short_lock_waits() -> Iterator[None]:
    """Within this block, no statement waits longer than ``LOCK_TIMEOUT`` for a lock: it fails (see ``is_lock_timeout``). Afterwards the
    connection waits as long as before, be it the site's limit or that of a block around this one.

    SQLite has only its connection's limit. A database that is away is left for the block to notice; ``persistently`` limits its new one.
    """
    connection = connections[alias()]
    if connection.vendor not in LOCK_TIMEOUTS:
        yield
        return
    outer = _are_waits_short.set(True)
    try:
        with limited_transactions(connection, LOCK_TIMEOUT) if is_pooled(connection) else _limited_session():
            yield
    finally:
        _are_waits_short.reset(outer)


@contextmanager
def _limited_session() -> Iterator[None]:
    connection = connections[alias()]
    _, tell, _, forget = LOCK_TIMEOUTS[connection.vendor]
    before = _limit_lock_waits()
    try:
        yield
    finally:
        if connection.connection is not None:
            with suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:  # a pool hands it to others
                cursor.execute(*((forget,) if before is None else (tell, before)))


def _limit_lock_waits() -> Sequence[str | int] | None:
    """Return the limits until now, or ``None`` where the database is away."""
    connection = connections[alias()]
    ask, tell, short, _ = LOCK_TIMEOUTS[connection.vendor]
    with suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
        cursor.execute(ask)
        before: Sequence[str | int] = cursor.fetchone()
        cursor.execute(tell, short)
        return before
    return None


def limit_anew() -> None:
    """Tell a connection that takes the place of another one what ``short_lock_waits`` had told that."""
    if _are_waits_short.get() and not is_pooled(connections[alias()]):
        _limit_lock_waits()


def code_of(error: BaseException) -> object:
    """Return what the database calls an error: the number that MySQL's drivers give first, or PostgreSQL's SQLSTATE (MySQL's says less)."""
    cause = error.__cause__
    first = next(iter(getattr(cause, "args", ())), None)
    return first if isinstance(first, int) else getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def is_lock_timeout(error: BaseException) -> bool:
    """Tell whether the database is there and somebody else holds the row, or the table, that was to be written: it took longer than we wait
    for a lock, or than the site lets any statement take.
    """
    return code_of(error) in ("55P03", "57014", 1205, 1969)


@contextmanager
def short_lock_waits_here() -> Iterator[None]:
    """Do what ``short_lock_waits`` does. A statement that fails for that does no harm to the caller's transaction, if there is one."""
    with short_lock_waits(), transaction.atomic(using=alias()) if in_transaction() else nullcontext():
        yield


def unless_locked(step: Callable[[], T]) -> T | None:
    """Run a step that can be done without: ``None`` where somebody (a console without a commit) holds its rows beyond ``LOCK_TIMEOUT``."""
    try:
        with short_lock_waits_here():
            return step()
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
    return None


def persistently(step: Callable[[], T], *, is_aside: bool = False) -> T:
    """Run a step, again and again while the database is away, for ``PATIENCE`` seconds at most.

    In the caller's transaction, which ends with its connection, that would be in vain, unless the step has a connection of its own
    (``is_aside``, for ``PATIENCE_ASIDE`` seconds).
    """
    give_up = time.monotonic() + (PATIENCE_ASIDE if is_aside else PATIENCE)
    while True:
        try:
            return step()
        except DATABASE_IS_AWAY as error:
            if (in_transaction() and not is_aside) or is_lock_timeout(error) or time.monotonic() > give_up:
                raise
            if not is_aside:
                connections[alias()].close()
        time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # jitter
        if not is_aside:
            limit_anew()


def to_the_end(step: Callable[[], T]) -> T:
    """Run a step, once more where something else than the database got in the way (Ctrl-C, a soft time limit): what it saves exists nowhere
    else. Raises what got in the way, whatever becomes of the second time.
    """
    try:
        return step()
    except (DatabaseFailure, OntraportError):
        raise
    except BaseException as interruption:
        try:
            step()
        except (DatabaseFailure, OntraportError):
            raise interruption from None
        raise
