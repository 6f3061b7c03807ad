"""What tests ask of a database server in its own words: who has a transaction open, who waits, and how a connection is ended."""

from __future__ import annotations

import time

from django.db import connection
from django.db.models import Model

OPEN_TRANSACTIONS = {
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    ),
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> connection_id()",
}
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
}
OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = database()",
}
END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
OWN_LOCK_WAIT = {
    "postgresql": "SELECT pg_backend_pid(), current_setting('lock_timeout')",
    "mysql": "SELECT connection_id(), concat(@@innodb_lock_wait_timeout, 's')",
}
LOCK_TABLE = {"postgresql": "LOCK TABLE {} IN EXCLUSIVE MODE", "mysql": "LOCK TABLES {} READ"}
"""Keeps everybody from writing a table until the transaction ends, or, on MySQL, the connection."""


MYSQL_PAUSE = 0.15
"""Seconds: InnoDB makes its list of transactions anew when nobody has read it for a tenth of a second."""


def number(statements: dict[str, str]) -> int:
    if connection.vendor == "mysql":
        time.sleep(MYSQL_PAUSE)
    with connection.cursor() as cursor:
        cursor.execute(statements[connection.vendor])
        return int(cursor.fetchone()[0])


def lock_table(*models: type[Model]) -> str:
    """Return the statement that keeps everybody else from writing the tables of ``models``."""
    names = [connection.ops.quote_name(model._meta.db_table) for model in models]
    return LOCK_TABLE[connection.vendor].format((" READ, " if connection.vendor == "mysql" else ", ").join(names))


def transactions_of_others() -> int:
    return number(OPEN_TRANSACTIONS)


def somebody_waits() -> bool:
    """Tell whether a statement waits for a lock."""
    return bool(number(WAITING))


def others() -> set[int]:
    """Return the server's numbers of the other connections to this database."""
    with connection.cursor() as cursor:
        cursor.execute(OTHERS[connection.vendor])
        return {int(pid) for (pid,) in cursor.fetchall()}


def end_others() -> None:
    """End the connections of everybody else, as a server that runs short of memory does."""
    with connection.cursor() as cursor:
        for pid in others():
            cursor.execute(END[connection.vendor], [pid])


def own_lock_wait() -> tuple[int, str]:
    """Return the server's number of this connection, and how long it waits for locks."""
    with connection.cursor() as cursor:
        cursor.execute(OWN_LOCK_WAIT[connection.vendor])
        pid, wait = cursor.fetchone()
    return int(pid), str(wait)


def copy_database(name: str) -> None:
    """Copy this database, as an operator does."""
    source = connection.settings_dict["NAME"]
    if connection.vendor == "postgresql":
        connection.close()
        with connection._nodb_cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
        return
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute("SHOW TABLES")
        for (table,) in cursor.fetchall():
            cursor.execute(f"CREATE TABLE {name}.{table} LIKE {table}")
            cursor.execute(
                "SELECT group_concat(concat('`', column_name, '`')) FROM information_schema.columns"
                " WHERE table_schema = database() AND table_name = %s AND extra NOT LIKE '%%GENERATED%%'",
                [table],
            )
            columns = cursor.fetchone()[0]
            cursor.execute(f"INSERT INTO {name}.{table} ({columns}) SELECT {columns} FROM {table}")  # noqa: S608


def drop_database(name: str) -> None:
    end = " WITH (FORCE)" if connection.vendor == "postgresql" else ""
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {connection.ops.quote_name(name)}{end}")


def locks_what_it_reads(level: str) -> bool:
    """Tell whether a transaction of that isolation level keeps others from changing what it has read."""
    return connection.vendor == "mysql" and level == "SERIALIZABLE"


def quoted(sql: str) -> str:
    """Return a statement with its names quoted as the standard says, in place of MySQL's backticks."""
    return sql.replace("`", '"')
