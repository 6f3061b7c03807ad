"""Whether the database can be reached and has all tables of this app."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from ontraport_connect.database import DATABASE_IS_AWAY, alias
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import OntraportAccount

from .findings import Finding, Level, finding

APP = OntraportAccount._meta.app_label


def require_database() -> None:
    """Raise ``OntraportUnavailable`` (code ``database``) where the database cannot be reached, and ``OntraportMisconfigured`` (code
    ``not_migrated``) where migrations of this app are missing. Neither repeats the driver's words, which may hold parts of the settings.
    """
    connection = connections[alias()]
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes(APP))
    except DATABASE_IS_AWAY as error:
        raise OntraportUnavailable(
            f'The database "{connection.alias}" ({connection.vendor}) cannot be reached ({type(error).__name__}).',
            code="database",
        ) from None
    except DatabaseError:
        return  # this role may not read the table of migrations, and may still work with the others
    if any(migration.app_label == APP for migration, _ in plan):
        raise OntraportMisconfigured(
            "The tables are not there, or not all of them. Run `manage.py migrate`.", code="not_migrated"
        )


def check_database() -> Iterator[Finding]:
    """Report whether the other subjects that query the database can be looked at."""
    try:
        require_database()
    except OntraportError as error:
        yield finding("database", Level.ERROR, str(error), "What needs the tables was not checked.")
        return
    yield finding("database", Level.OK, "all tables are there")
