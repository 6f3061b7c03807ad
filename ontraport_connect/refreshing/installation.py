"""Whether this process may use the stored credentials: is the database this installation's own, or a copy of another's?

A copy (staging, a restored backup) holds the refresh tokens of the original. Whoever spends one of them ends the link of the original
(RFC 9700, 4.14.2), and so does whoever revokes it. The database therefore carries a mark of the installation that uses it, made of
something that does not travel with a dump: the setting ``ONTRAPORT_INSTALLATION``, or else the identity of the primary database server
(of the file, on SQLite). Where the mark is another's, nothing is sent until an operator has decided.

What cannot be told from the original is taken for the original: a physical copy (a disk snapshot, ``pg_basebackup``) has the identity
of the server it was made of, exactly as the replica has that takes over in a failover, and a failover must not stop anything.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from django.db import DatabaseError, connections, transaction

from ontraport_connect.conf import conf
from ontraport_connect.database import DATABASE_IS_AWAY, alias, short_lock_waits
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation, OntraportService
from ontraport_connect.monitoring import logger

from .database_identity import Marks, identity_of, mark_of

COPIED = "copied_database"
ADOPTED = "adopted_database"
SETTING = "setting"

LOOK_AGAIN_AFTER = 60.0
"""Seconds for which a mark that was found to be ours is believed without another look at it: a long-lived process may see its database
replaced beneath it (a nightly restore of production's dump). Refreshes do not rely on it, they read the row anyway; nor do revocations.
"""

_seen: dict[tuple[str, Marks], float] = {}
_logged: set[tuple[str, str, Marks]] = set()
_recorded: set[tuple[str, str, Marks]] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """What was dropped from a database when it was adopted."""

    links: int
    revocations: int


def require_own_database(using: str | None = None, *, anew: bool = False) -> None:
    """Raise ``OntraportMisconfigured`` (code ``copied_database``) where the database is another installation's.

    ``anew``: the mark is looked at although that was done a moment ago, before something that cannot be undone.
    """
    error = _refusal(using or alias(), anew=anew)
    if error is not None:
        raise error


def is_own_database(using: str | None = None, *, anew: bool = False) -> bool:
    return _refusal(using or alias(), anew=anew) is None


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
        return (mark_of(SETTING, conf.ONTRAPORT_INSTALLATION),)
    return identity_of(connections[using])


def adopt_database(*, delete_links: bool = False, keep_revocations: bool = False) -> Adopted:
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


def _refusal(using: str, *, anew: bool) -> OntraportMisconfigured | None:
    marks = marks_of(using)
    seen_at = _seen.get((using, marks))
    if not anew and seen_at is not None and time.monotonic() < seen_at + LOOK_AGAIN_AFTER:
        return None
    try:
        stored = stored_mark(using)
    except DATABASE_IS_AWAY:
        if seen_at is None:
            raise
        return None  # it was ours, and a call with a token that is valid still needs no database
    return _compare(stored, using, marks)


def _compare(stored: str, using: str, marks: Marks) -> OntraportMisconfigured | None:
    is_unknown = not marks and stored.startswith(f"{connections[using].vendor}:")
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
        why = "it was recorded on another database server, under another name, or (SQLite) as another file"
    return (
        f"Nothing is sent to Ontraport from here, since this database looks like a copy: {why}. Its links belong to the original, which"
        " would lose them. In a copy, leave it so, or delete the links: nothing is revoked. If this database takes the place of the"
        " original (it was moved, renamed or restored), or if you have only just set ONTRAPORT_INSTALLATION, run"
        " `manage.py ontraport adopt-database --keep-revocations`."
    )


def _record(mark: str, using: str) -> None:
    """Record the mark, unless inside a transaction: other processes would wait for its lock, and a rollback would undo it. The beat
    task, a worker or a refresh will do so.
    """
    if _in_transaction(using):
        return
    rows = OntraportService.objects.using(using)
    with suppress(DatabaseError), short_lock_waits():  # read-only: no refresh token can be spent here either
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
    with (
        suppress(DatabaseError),
        short_lock_waits(),
        transaction.atomic(using=using),
    ):  # a read-only copy is refused all the same
        OntraportService.objects.using(using).select_for_update().filter(pk=1).first()
        last = events.filter(detail__in=[COPIED, ADOPTED]).order_by("-pk").first()
        if last is None or last.detail != COPIED:
            events.create(kind=EventKind.MISCONFIGURED, detail=COPIED)


def _in_transaction(using: str) -> bool:
    connection = connections[using]
    return connection.in_atomic_block or not connection.get_autocommit()
