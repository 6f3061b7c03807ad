"""Whether this process may use the stored credentials: is the database this installation's own, or a copy of another's?

A copy (staging, a restored backup) holds the refresh tokens of the original. Whoever spends one of them ends the link of the original
(RFC 9700, 4.14.2), and so does whoever revokes it. The database therefore carries a mark of the installation that uses it, made of
something that does not travel with a dump: the setting ``ONTRAPORT_INSTALLATION``, or else the identity of the primary database server
(of the file, on SQLite). Where the mark is another's, nothing is sent until an operator has decided.

What cannot be told from the original is taken for the original: a physical copy (a disk snapshot, ``pg_basebackup``) has the identity
of the server it was made of, exactly as the replica has that takes over in a failover, and a failover must not stop anything.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, ProgrammingError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from ontraport_connect.conf import conf
from ontraport_connect.database import DATABASE_IS_AWAY, alias
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation, OntraportService

logger = logging.getLogger("ontraport_connect")

COPIED = "copied_database"
ADOPTED = "adopted_database"
SETTING = "setting"
LENGTH = 64

LOOK_AGAIN_AFTER = 60.0
"""Seconds for which a mark that was found to be ours is believed without another look at it: a long-lived process may see its database
replaced beneath it (a nightly restore of production's dump). Refreshes do not rely on it, they read the row anyway.
"""

Marks = tuple[str, ...]

_seen: dict[tuple[str, Marks], float] = {}
_identities: dict[tuple[object, ...], Marks | str] = {}
_logged: set[tuple[str, str, Marks]] = set()
_recorded: set[tuple[str, str, Marks]] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """What was dropped from a database when it was adopted."""

    links: int
    revocations: int


def require_own_database(using: str | None = None) -> None:
    """Raise ``OntraportMisconfigured`` (code ``copied_database``) where the database is another installation's."""
    error = _refusal(using or alias())
    if error is not None:
        raise error


def is_own_database(using: str | None = None) -> bool:
    return _refusal(using or alias()) is None


def require_own_row(row: OntraportService | None) -> None:
    """Do what ``require_own_database`` does with the site's row as it was just read, which costs no statement."""
    error = _compare("" if row is None else row.installation, alias(), marks_of(alias()))
    if error is not None:
        raise error


def stored_mark(using: str | None = None) -> str:
    """Return the mark that the database carries, an empty string where nothing was sent yet."""
    found = OntraportService.objects.using(using or alias()).filter(pk=1).values_list("installation", flat=True)
    return found.first() or ""


def marks_of(using: str) -> Marks:
    """Return the marks that mean this installation, first the one to record. None at all: it cannot be told from others."""
    if conf.ONTRAPORT_INSTALLATION:
        return (_mark(SETTING, conf.ONTRAPORT_INSTALLATION),)
    connection = connections[using]
    identify = IDENTITIES.get(connection.vendor)
    return () if identify is None else identify(connection)


def adopt(*, delete_links: bool = False, keep_revocations: bool = False) -> Adopted:
    """Make the database this installation's own. Nothing is sent to Ontraport, neither for links that are deleted here
    (``delete_links``) nor, unless ``keep_revocations``, for the grants that were to be revoked: in a copy, the original does so.
    """
    using = alias()
    with transaction.atomic(using=using):
        links = OntraportAccount.objects.using(using).count() if delete_links else 0
        if delete_links:
            OntraportAccount.objects.using(using).all().delete()
        revocations = 0
        if delete_links or not keep_revocations:
            revocations, _ = OntraportRevocation.objects.using(using).all().delete()
        mark = next(iter(marks_of(using)), "")
        OntraportService.objects.using(using).update_or_create(pk=1, defaults={"installation": mark})
        OntraportEvent.objects.using(using).create(kind=EventKind.MENDED, detail=ADOPTED)
    return Adopted(links=links, revocations=revocations)


def _refusal(using: str) -> OntraportMisconfigured | None:
    marks = marks_of(using)
    seen_at = _seen.get((using, marks))
    if seen_at is not None and time.monotonic() < seen_at + LOOK_AGAIN_AFTER:
        return None
    try:
        stored = stored_mark(using)
    except DATABASE_IS_AWAY:
        if seen_at is None:
            raise
        return None  # it was ours, and a call with a token that is valid still needs no database
    return _compare(stored, using, marks)


def _compare(stored: str, using: str, marks: Marks) -> OntraportMisconfigured | None:
    is_unknown = not marks and not stored.startswith(f"{SETTING}:")
    if not stored and marks:
        _record(marks[0], using)
    if not stored or stored in marks or is_unknown:
        _seen[using, marks] = time.monotonic()
        return None
    _seen.pop((using, marks), None)
    error = OntraportMisconfigured(_explanation(stored), code=COPIED)
    _tell(error, using, (using, stored, marks))
    return error


def _explanation(stored: str) -> str:
    """Say what happened and what to do, in words for the operator."""
    was_set, is_set = stored.startswith(f"{SETTING}:"), bool(conf.ONTRAPORT_INSTALLATION)
    if was_set:
        why = "it was recorded under another ONTRAPORT_INSTALLATION than this process has; all processes of a site need the same"
    elif is_set:
        why = "it was recorded before ONTRAPORT_INSTALLATION was set here"
    else:
        why = "it was recorded on another database server, or under another name"
    return (
        f"Nothing is sent to Ontraport from here, since this database looks like a copy: {why}. Its links belong to the original, which"
        " would lose them. In a copy, leave it so, or delete the links: nothing is revoked. If this database takes the place of the"
        " original (it was moved, renamed or restored), run `manage.py ontraport adopt-database`."
    )


def _record(mark: str, using: str) -> None:
    """Record the mark, unless inside a transaction: other processes would wait for its lock, and a rollback would undo it. The beat
    task, a worker or a refresh will do so.
    """
    if _in_transaction(using):
        return
    rows = OntraportService.objects.using(using)
    with suppress(DatabaseError):  # read-only: no refresh token can be spent here either
        _, is_new = rows.get_or_create(pk=1, defaults={"installation": mark})
        if not is_new:
            rows.filter(pk=1, installation="").update(installation=mark)


def _tell(error: OntraportMisconfigured, using: str, case: tuple[str, str, Marks]) -> None:
    """Say it loudly once a process, and once in the history of the site."""
    if case not in _logged:
        _logged.add(case)
        logger.critical("%s", error)
    if case in _recorded or _in_transaction(using):
        return
    _recorded.add(case)
    events = OntraportEvent.objects.using(using)
    with suppress(DatabaseError), transaction.atomic(using=using):  # a read-only copy is refused all the same
        OntraportService.objects.using(using).select_for_update().filter(pk=1).first()
        last = events.filter(detail__in=[COPIED, ADOPTED]).order_by("-pk").first()
        if last is None or last.detail != COPIED:
            events.create(kind=EventKind.MISCONFIGURED, detail=COPIED)


def _in_transaction(using: str) -> bool:
    connection = connections[using]
    return connection.in_atomic_block or not connection.get_autocommit()


def _mark(kind: str, *parts: object) -> str:
    """Return a mark that tells of what kind it is, and nothing else."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    return f"{kind}:{digest}"[:LENGTH]


def _of_postgresql(connection: Any) -> Marks:
    """The cluster's identifier, made by ``initdb`` and shared by its physical replicas, and the name of the database."""
    return _ask_once(connection, _ask_postgresql)


def _ask_postgresql(connection: Any) -> Marks:
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("SELECT system_identifier, current_database() FROM pg_control_system()")
            return (_mark(connection.vendor, *cursor.fetchone()),)
    except TransactionManagementError:
        raise
    except ProgrammingError:  # not permitted, or a relative of PostgreSQL that has no such function
        return ()


def _of_mysql(connection: Any) -> Marks:
    """MySQL's server and the name of the database; MariaDB has no identity of its own.

    With GTIDs also the servers whose transactions this one has replayed: one that takes over in a failover was a replica of them.
    """
    return () if connection.mysql_is_mariadb else _ask_once(connection, _ask_mysql)


def _ask_mysql(connection: Any) -> Marks:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@server_uuid, @@global.gtid_executed, DATABASE()")
        server, executed, name = cursor.fetchone()
    origins = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", executed.lower())
    return tuple(_mark(connection.vendor, each, name) for each in dict.fromkeys([server.lower(), *origins]))


def _of_sqlite(connection: Any) -> Marks:
    """The file itself (its inode) and not its path: two containers may have it at different places."""
    path = _ask_once(connection, _ask_sqlite)
    try:
        inode = os.stat(path).st_ino if path else 0
    except OSError:
        inode = 0
    return (_mark(connection.vendor, inode),) if inode else ()


def _ask_sqlite(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        return next((str(file) for _, name, file in cursor.fetchall() if name == "main" and file), "")


def _ask_once(connection: BaseDatabaseWrapper, ask: Callable[[Any], Any]) -> Any:
    """Ask the database once a process."""
    entry = connection.settings_dict
    key = (connection.alias, connection.vendor, str(entry["NAME"]), entry.get("HOST"), entry.get("PORT"))
    if key not in _identities:
        _identities[key] = ask(connection)
    return _identities[key]


IDENTITIES: Mapping[str, Callable[[Any], Marks]] = {
    "postgresql": _of_postgresql,
    "mysql": _of_mysql,
    "sqlite": _of_sqlite,
}
