"""Save the answers that wait by one UPDATE and one commit, each row under its own guard. PostgreSQL only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import Error as DatabaseFailure
from django.db import connections

from ontraport_connect.database import alias, in_transaction, persistently
from ontraport_connect.models import OntraportAccount

from .leases import Lease

TYPES = {
    "access_token": "bytea",
    "refresh_token": "bytea",
    "client_id": "text",
    "issuer": "text",
    "scope": "text",
    "expires_at": "timestamptz",
    "refresh_at": "timestamptz",
    "refreshed_at": "timestamptz",
    "lease_owner": "text",
}
"""The columns that differ from row to row, and their types."""

SAME_FOR_ALL = {"version": "t.version + 1", "lease_until": "NULL", "failures": "0", "last_error": "''"}

KEPT = "refresh_token"
"""The column that keeps its value where no new one came."""


def save(answers: Sequence[tuple[Lease, Mapping[str, Any]]]) -> set[int]:
    """Save what came for these leases (see ``saving.columns_for``), and return the primary keys of the rows that took theirs, for each of
    which ``outcomes.after_save`` is due. What is not among them (the guard failed, a row is locked, the database is another) is to be
    settled alone.
    """
    if len(answers) < 2 or in_transaction() or connections[alias()].vendor != "postgresql":
        return set()
    rows = [{**columns, "lease_owner": lease.receipt} for lease, columns in answers]
    guards = [(lease.account.pk, lease.account.version) for lease, _ in answers]
    try:
        return persistently(lambda: _update(guards, rows))
    except DatabaseFailure:
        return set()


def _update(guards: Sequence[tuple[int, int]], rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the primary keys of the rows that were written. All values are one parameter: to bind an array for each column takes longer
    than the rest of the statement.
    """
    values = [
        {"pk": pk, "known_version": version, **{name: row.get(name) for name in TYPES}}
        for (pk, version), row in zip(guards, rows, strict=True)
    ]
    with connections[alias()].cursor() as cursor:
        cursor.execute(_statement(), [json.dumps(values, default=_as_text)])
        return {pk for (pk,) in cursor.fetchall()}


def _as_text(value: bytes | datetime) -> str:
    """Return a value as PostgreSQL reads it."""
    return value.isoformat() if isinstance(value, datetime) else f"\\x{value.hex()}"


def _statement() -> str:
    """Return the UPDATE. Nothing in it comes from outside: it is made of the names of our own columns."""
    quote = connections[alias()].ops.quote_name
    table, name_of = quote(OntraportAccount._meta.db_table), {name: quote(name) for name in (*TYPES, *SAME_FOR_ALL)}
    sets = [
        f"{name_of[name]} = {f'coalesce(v.{name}, t.{name_of[name]})' if name == KEPT else f'v.{name}'}"
        for name in TYPES
    ]
    sets += [f"{name_of[name]} = {value}" for name, value in SAME_FOR_ALL.items()]
    columns = ", ".join(f"{name} {kind}" for name, kind in {"pk": "bigint", "known_version": "bigint", **TYPES}.items())
    return (
        f"UPDATE {table} AS t SET {', '.join(sets)}"  # noqa: S608
        f" FROM json_to_recordset(%s) AS v({columns})"
        " WHERE t.id = v.pk AND t.version = v.known_version RETURNING v.pk"
    )
