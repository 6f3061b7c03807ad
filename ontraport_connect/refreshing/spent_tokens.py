"""A record of refresh tokens that were spent while their row could not be written for good. It outlives every rollback.

A refresh inside the caller's transaction, of a row that this transaction made or holds, is undone when the transaction is: the row then
shows the spent token again. So the token is noted here, on its own, before it is sent, and the answer is noted when it comes. Whoever
claims the row later finds the note, and takes the answer instead of spending the token again. An answer that cannot be saved because
somebody else holds the row is kept here, too.

On a server database the notes are rows of ``OntraportSpentToken``, written on a connection of their own. SQLite has one writer, which the
caller's transaction is: there the notes are in a small database beside it, or in memory where the database is.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models import Exists, OuterRef, Value

from ontraport_connect.database import alias, has_one_writer, in_transaction, on_own_connection
from ontraport_connect.encryption import Sealed, Secret, StoredSecret
from ontraport_connect.models import OntraportAccount, OntraportSpentToken

T = TypeVar("T")

_left: ContextVar[frozenset[UUID]] = ContextVar("ontraport_left", default=frozenset())
"""Accounts whose answer was noted in this context, and may have to be taken over once its transaction has ended."""

MOST_IN_MEMORY = 1000
"""Notes that are kept for databases in memory; tests leave them behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpentToken:
    """A note. ``access_token`` and ``refresh_token`` are ciphertexts for the row of the account; times are those of the database."""

    digest: str
    account_uid: UUID
    owner: str
    sent_at: datetime
    until: datetime
    access_token: bytes | None = None
    refresh_token: bytes | None = None
    lifetime: float | None = None
    scope: str = ""

    @property
    def is_answered(self) -> bool:
        return self.access_token is not None

    def answered(self, *, access_token: bytes, refresh_token: bytes | None, lifetime: float, scope: str) -> Self:
        return replace(
            self,
            access_token=bytes(access_token),
            refresh_token=None if refresh_token is None else bytes(refresh_token),
            lifetime=lifetime,
            scope=scope,
        )


def digest_of(account: OntraportAccount) -> str:
    """Return what a note is found by. Raises ``SecretUnreadable``. Tells nothing of the token, which is random text."""
    token = account.refresh_token
    text = "" if token is None else token.reveal()
    return hashlib.sha256(f"{account.uid}:{text}".encode(errors="surrogatepass")).hexdigest()


def annotated(accounts: Any) -> Any:
    """Add ``has_spent_token`` to accounts, in the query itself where that is possible."""
    if has_one_writer():
        return accounts.annotate(has_spent_token=Value(value=_sqlite().exists()))
    return accounts.annotate(has_spent_token=Exists(OntraportSpentToken.objects.filter(account_uid=OuterRef("uid"))))


def find(account: OntraportAccount) -> SpentToken | None:
    """Return the note on the refresh token that ``account`` holds."""
    return _store(lambda store: store.find(digest_of(account)))


def begin(spent: SpentToken) -> bool:
    """Note that a token is about to be sent. Returns false when it is noted already. Raises a database error when it cannot be noted."""
    return _store(lambda store: store.add(spent))


def keep(spent: SpentToken) -> None:
    """Note an answer, whether or not ``begin`` was called before."""
    _left.set(_left.get() | {spent.account_uid})
    _store(lambda store: store.put(spent))


def forget(account_uid: UUID) -> None:
    """Forget the notes on an account, whose row has what they hold."""
    _store(lambda store: store.forget(account_uid))


def forget_on_commit(account_uid: UUID) -> None:
    """Forget the notes on an account once the transaction that has written its row is committed. Where Django cannot tell when that is (a
    transaction without ``atomic``), they stay until the row is claimed again.
    """
    if not in_transaction() or connections[alias()].in_atomic_block:
        transaction.on_commit(lambda: forget(account_uid), using=alias(), robust=True)


def left() -> frozenset[UUID]:
    """Return the accounts whose answers were noted in this request, or task."""
    return _left.get()


def forget_left() -> None:
    _left.set(frozenset())


def uids() -> Sequence[UUID]:
    """Return the accounts that there are notes on."""
    return _store(lambda store: store.uids())


def successor(account: OntraportAccount) -> Secret | None:
    """Return the refresh token that came for the one that ``account`` holds, if that was spent."""
    if account.refresh_token is None:
        return None
    spent = find(account)
    if spent is None or spent.refresh_token is None:
        return None
    field = OntraportAccount._meta.get_field("refresh_token")
    return StoredSecret(Sealed(spent.refresh_token), field.context_of(account.uid))


def _store(step: Callable[[_Rows | _Sqlite], T]) -> T:
    if has_one_writer():
        return step(_sqlite())
    return on_own_connection(lambda: step(_Rows()))


class _Rows:
    """The notes of a server database."""

    def find(self, digest: str) -> SpentToken | None:
        row = self._rows().filter(pk=digest).values().first()
        return None if row is None else _read(row)

    def add(self, spent: SpentToken) -> bool:
        try:
            with transaction.atomic(using=alias()):
                self._rows().create(**_values(spent))
        except IntegrityError:
            return False
        return True

    def put(self, spent: SpentToken) -> None:
        self._rows().update_or_create(digest=spent.digest, defaults=_values(spent))

    def forget(self, account_uid: UUID) -> None:
        self._rows().filter(account_uid=account_uid).delete()

    def uids(self) -> Sequence[UUID]:
        return list(self._rows().order_by().values_list("account_uid", flat=True).distinct())

    def _rows(self) -> Any:
        return OntraportSpentToken.objects.using(alias())


def _values(spent: SpentToken) -> dict[str, Any]:
    return {name: getattr(spent, name) for name in SpentToken.__slots__}


def _read(row: dict[str, Any]) -> SpentToken:
    for name in ("access_token", "refresh_token"):
        row[name] = None if row[name] is None else bytes(row[name])
    return SpentToken(**row)


SCHEMA = """CREATE TABLE IF NOT EXISTS spent (digest TEXT PRIMARY KEY, account_uid TEXT, owner TEXT, sent_at REAL, until REAL,
 access_token BLOB, refresh_token BLOB, lifetime REAL, scope TEXT)"""


class _Sqlite:
    """The notes beside a SQLite database."""

    def __init__(self, name: str, *, is_in_memory: bool) -> None:
        self._name = name
        self._in_memory = sqlite3.connect(":memory:", check_same_thread=False) if is_in_memory else None
        self._lock = threading.Lock()

    def exists(self) -> bool:
        return self._in_memory is not None or Path(self._name).exists()

    def find(self, digest: str) -> SpentToken | None:
        rows = self._read("SELECT * FROM spent WHERE digest = ?", digest)
        return self._note(rows[0]) if rows else None

    def add(self, spent: SpentToken) -> bool:
        with self._connected() as connection:
            cursor = connection.execute(f"INSERT OR IGNORE INTO spent VALUES ({MARKS})", self._row(spent))  # noqa: S608
            if self._in_memory is not None:
                connection.execute(
                    "DELETE FROM spent WHERE rowid <= (SELECT max(rowid) FROM spent) - ?", (MOST_IN_MEMORY,)
                )
            return cursor.rowcount == 1

    def put(self, spent: SpentToken) -> None:
        with self._connected() as connection:
            connection.execute(f"INSERT OR REPLACE INTO spent VALUES ({MARKS})", self._row(spent))  # noqa: S608

    def forget(self, account_uid: UUID) -> None:
        if self._read("SELECT 1 FROM spent WHERE account_uid = ?", account_uid.hex):
            with self._connected() as connection:
                connection.execute("DELETE FROM spent WHERE account_uid = ?", (account_uid.hex,))

    def uids(self) -> Sequence[UUID]:
        return [UUID(uid) for (uid,) in self._read("SELECT DISTINCT account_uid FROM spent")]

    def _read(self, query: str, *parameters: str) -> list[Any]:
        if not self.exists():
            return []
        with self._connected() as connection:
            return connection.execute(query, parameters).fetchall()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection whose work is committed at the end. Raises Django's ``OperationalError``."""
        try:
            if self._in_memory is not None:
                with self._lock, self._in_memory as connection:
                    connection.execute(SCHEMA)
                    yield connection
            else:
                with closing(sqlite3.connect(self._name, timeout=5)) as connection, connection:
                    connection.execute(SCHEMA)
                    yield connection
        except sqlite3.Error as error:
            raise OperationalError(f"The notes on spent tokens cannot be used ({error}).") from error

    def _row(self, spent: SpentToken) -> tuple[Any, ...]:
        values = {**_values(spent), "account_uid": spent.account_uid.hex}
        values |= {name: values[name].timestamp() for name in ("sent_at", "until")}
        return tuple(values.values())

    def _note(self, row: tuple[Any, ...]) -> SpentToken:
        values = dict(zip(SpentToken.__slots__, row, strict=True))
        values |= {name: datetime.fromtimestamp(values[name], UTC) for name in ("sent_at", "until")}
        return SpentToken(**{**values, "account_uid": UUID(values["account_uid"])})


MARKS = ", ".join("?" * 9)
_stores: dict[str, _Sqlite] = {}


def _sqlite() -> _Sqlite:
    """Return the notes that belong to the database of the accounts."""
    name = str(connections[alias()].settings_dict["NAME"])
    is_in_memory = ":memory:" in name or "mode=memory" in name
    path = name.removeprefix("file:").partition("?")[0]
    return _stores.setdefault(name, _Sqlite(f"{path}-ontraport", is_in_memory=is_in_memory))
