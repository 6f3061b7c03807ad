"""Where the notes on spent tokens are kept: rows of a server database, or a small SQLite database beside the site's own."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from django.db import IntegrityError, OperationalError, connections, transaction

from ontraport_connect.database import alias
from ontraport_connect.models import OntraportSpentToken, as_stored, aware

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


class Rows:
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

    def forget(self, digest: str) -> None:
        self._rows().filter(pk=digest).delete()

    def forget_unsent(self, owner: str) -> None:
        self._rows().filter(owner=owner, access_token=None).delete()

    def forget_account(self, account_uid: UUID) -> None:
        self._rows().filter(account_uid=account_uid).delete()

    def forget_abandoned(self, account_uid: UUID, before: datetime) -> None:
        self._rows().filter(account_uid=account_uid, until__lt=before).delete()

    def digests(self, account_uid: UUID) -> Sequence[str]:
        return list(self._rows().filter(account_uid=account_uid).values_list("pk", flat=True))

    def uids(self, *, answered: bool) -> Sequence[UUID]:
        rows = self._rows().exclude(access_token=None) if answered else self._rows()
        return list(rows.order_by().values_list("account_uid", flat=True).distinct())

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


class Sqlite:
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

    def forget(self, digest: str) -> None:
        with self._connected() as connection:
            connection.execute("DELETE FROM spent WHERE digest = ?", (digest,))

    def forget_unsent(self, owner: str) -> None:
        if self._read("SELECT 1 FROM spent WHERE owner = ?", owner):
            with self._connected() as connection:
                connection.execute("DELETE FROM spent WHERE owner = ? AND access_token IS NULL", (owner,))

    def forget_account(self, account_uid: UUID) -> None:
        if self._read("SELECT 1 FROM spent WHERE account_uid = ?", account_uid.hex):
            with self._connected() as connection:
                connection.execute("DELETE FROM spent WHERE account_uid = ?", (account_uid.hex,))

    def forget_abandoned(self, account_uid: UUID, before: datetime) -> None:
        with self._connected() as connection:
            connection.execute(
                "DELETE FROM spent WHERE account_uid = ? AND until < ?", (account_uid.hex, aware(before).timestamp())
            )

    def digests(self, account_uid: UUID) -> Sequence[str]:
        return [digest for (digest,) in self._read("SELECT digest FROM spent WHERE account_uid = ?", account_uid.hex)]

    def uids(self, *, answered: bool) -> Sequence[UUID]:
        where = " WHERE access_token IS NOT NULL" if answered else ""
        return [UUID(uid) for (uid,) in self._read(f"SELECT DISTINCT account_uid FROM spent{where}")]  # noqa: S608

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
        values |= {name: aware(values[name]).timestamp() for name in ("sent_at", "until")}
        return tuple(values.values())

    def _note(self, row: tuple[Any, ...]) -> SpentToken:
        values = dict(zip(SpentToken.__slots__, row, strict=True))
        values |= {name: as_stored(datetime.fromtimestamp(values[name], UTC)) for name in ("sent_at", "until")}
        return SpentToken(**{**values, "account_uid": UUID(values["account_uid"])})


MARKS = ", ".join("?" * 9)
_stores: dict[str, Sqlite] = {}


def sqlite_store() -> Sqlite:
    """Return the notes that belong to the database of the accounts."""
    name = str(connections[alias()].settings_dict["NAME"])
    if name not in _stores:
        is_in_memory = ":memory:" in name or "mode=memory" in name
        path = os.path.realpath(name.removeprefix("file:").partition("?")[0])  # one file may have several names
        _stores.setdefault(name, Sqlite(f"{path}-ontraport", is_in_memory=is_in_memory))
    return _stores[name]
