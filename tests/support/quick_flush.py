"""Empties after a test the tables that have rows.

Django's ``flush`` empties all tables, and makes content types and permissions anew: a tenth of a second after each of thousands of tests.
Here they are kept as long as no test has changed them.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.commands import flush
from django.db import connections, transaction

MADE_BY_MIGRATE = [("contenttypes", "ContentType"), ("auth", "Permission"), ("sites", "Site")]

flush_all = flush.Command.handle
_as_made: dict[str, dict[str, Any]] = {}


def handle(command: flush.Command, **options: Any) -> None:
    """Takes the place of ``flush.Command.handle``."""
    alias = options["database"]
    if alias not in _as_made or made_by_migrate(alias) != _as_made[alias]:
        flush_all(command, **options)
        _as_made[alias] = made_by_migrate(alias)
    else:
        empty(alias, set(_as_made[alias]))


def made_by_migrate(alias: str) -> dict[str, Any]:
    """Return the rows that ``migrate`` makes, by table."""
    models = [apps.get_model(*names) for names in MADE_BY_MIGRATE if apps.is_installed(f"django.contrib.{names[0]}")]
    existing = connections[alias].introspection.table_names()
    return {
        model._meta.db_table: list(model._base_manager.using(alias).order_by("pk").values_list())
        for model in models
        if model._meta.db_table in existing
    }


def empty(alias: str, kept: set[str]) -> None:
    connection = connections[alias]
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    quoted = {table: connection.ops.quote_name(table) for table in tables if table not in kept}
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT * FROM (SELECT '{table}' AS name) AS t WHERE EXISTS (SELECT 1 FROM {name})"  # noqa: S608
                for table, name in quoted.items()
            )
        )
        filled = [table for (table,) in cursor.fetchall()]
    with connection.constraint_checks_disabled(), transaction.atomic(using=alias), connection.cursor() as cursor:
        for table in filled:
            cursor.execute(f"DELETE FROM {quoted[table]}")  # noqa: S608
