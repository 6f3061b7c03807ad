"""What a database server, or a file, is known by: something that stays when it restarts or fails over, and does not travel with a dump."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from django.db import ProgrammingError, transaction
from django.db.transaction import TransactionManagementError

from ontraport_connect.models import OntraportAccount

T = TypeVar("T")
Marks = tuple[str, ...]

LENGTH = 64

NAME_OF_THE_MOMENT = re.compile(r"[0-9a-f]{12}|ip-[0-9-]+(\..*)?", re.ASCII)
"""Names of hosts that change when a container is made anew, or a managed server moves."""

SCHEMA = """SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE pg_class.oid = to_regclass(%s) AND nspname <> 'public'"""
"""Asked of the table and not of the path: libraries for tenants change that with each request."""

_answers: dict[tuple[object, ...], Any] = {}
"""What databases have answered, by the settings that lead to them."""


def identity_of(connection: Any) -> Marks:
    """Return the marks of a database, first the one to record; none where nothing is known of it that would stay."""
    identify = IDENTITIES.get(connection.vendor)
    return () if identify is None else identify(connection)


def mark_of(kind: str, *parts: object) -> str:
    """Return a mark that tells of what kind it is, and nothing else."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    return f"{kind}:{digest}"[:LENGTH]


def _of_postgresql(connection: Any) -> Marks:
    """The cluster's identifier, made by ``initdb`` and shared by its physical replicas, the name of the database, and that of the schema
    that has our tables, where it is not the usual one.
    """
    return _ask_once(connection, _ask_postgresql)


def _ask_postgresql(connection: Any) -> Marks:
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:  # a refusal ends no transaction
            cursor.execute("SELECT system_identifier, current_database() FROM pg_control_system()")
            cluster, name = cursor.fetchone()
            cursor.execute(SCHEMA, [connection.ops.quote_name(OntraportAccount._meta.db_table)])
            return (mark_of(connection.vendor, cluster, name, *(schema for (schema,) in cursor.fetchall())),)
    except TransactionManagementError:
        raise
    except ProgrammingError:  # not permitted, or a relative of PostgreSQL that has no such function
        return ()


def _of_mysql(connection: Any) -> Marks:
    """MySQL's server and the name of the database.

    With GTIDs also the servers whose transactions this one has replayed: one that takes over in a failover was a replica of them.
    """
    return _ask_once(connection, _ask_mariadb if connection.mysql_is_mariadb else _ask_mysql)


def _ask_mysql(connection: Any) -> Marks:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@server_uuid, @@global.gtid_executed, DATABASE()")
        server, executed, name = cursor.fetchone()
    origins = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", executed.lower())
    return tuple(mark_of(connection.vendor, each, name) for each in dict.fromkeys([server.lower(), *origins]))


def _ask_mariadb(connection: Any) -> Marks:
    """MariaDB gives its servers no identity of their own. A cluster (Galera) has one. A server that stands alone is known by its host, port
    and folder; one that replays another's transactions, or did so once, may take over from that one and is not known at all, and so is one
    whose host has a name of the moment.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'WSREP_CLUSTER_STATE_UUID'"
        )
        cluster = next((uuid for (uuid,) in cursor.fetchall()), "")
        cursor.execute("SELECT @@hostname, @@port, @@datadir, @@global.gtid_slave_pos, DATABASE()")
        host, port, folder, replayed, name = cursor.fetchone()
    if cluster:
        return (mark_of(connection.vendor, cluster, name),)
    if replayed or NAME_OF_THE_MOMENT.fullmatch(host):
        return ()
    return (mark_of(connection.vendor, host, port, folder, name),)


def _of_sqlite(connection: Any) -> Marks:
    """The file itself (its inode) and not its path: two containers may have it at different places."""
    path = _ask_once(connection, _ask_sqlite)
    try:
        inode = Path(path).stat().st_ino if path else 0
    except OSError:
        inode = 0
    return (mark_of(connection.vendor, inode),) if inode else ()


def _ask_sqlite(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        return next((str(file) for _, name, file in cursor.fetchall() if name == "main" and file), "")


def _ask_once(connection: Any, ask: Callable[[Any], T]) -> T:
    """Ask the database once a process."""
    entry = connection.settings_dict
    key = (connection.alias, connection.vendor, str(entry["NAME"]), entry.get("HOST"), entry.get("PORT"))
    if key not in _answers:
        _answers[key] = ask(connection)
    answer: T = _answers[key]
    return answer


IDENTITIES: Mapping[str, Callable[[Any], Marks]] = {
    "postgresql": _of_postgresql,
    "mysql": _of_mysql,
    "sqlite": _of_sqlite,
}
