"""``manage.py ontraport`` before ``migrate``, and while the database cannot be reached: one sentence, no traceback, no password."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, ProgrammingError, connection

from tests.support import ontraport
from tests.support.command import Run
from tests.support.databases import sqlite
from tests.support.servers import PROJECT, free_port

pytestmark = pytest.mark.django_db(transaction=True)

UID = "6f0b1a52-9f5d-4a3b-9d8e-1f1f2f3f4f5f"
NO_TABLES = "The tables are not there, or not all of them. Run `manage.py migrate`."
SUBCOMMANDS = (
    ["accounts"],
    ["refresh", UID],
    ["refresh", "--all"],
    ["refresh", "--reconsider"],
    ["disconnect", UID, "--yes"],
    ["disconnect", "--all", "--yes"],
    ["rotate-keys"],
    ["adopt-database", "--yes"],
)
Site = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(child_environ: Callable[..., dict[str, str]]) -> Site:
    """Run ``manage.py`` on a database of its own."""

    def manage(entry: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = child_environ(**ontraport.settings_for("http://127.0.0.1:9"), DATABASES={"default": entry})
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            check=False,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            env=environ,
        )

    return manage


def of_the_database(run: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    return [found for found in json.loads(run.stdout)["findings"] if found["subject"] == "database"]


def test_check_before_migrate_says_so_first_and_leaves_out_what_it_cannot_look_at(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite3"
    run = site(sqlite(file), "ontraport", "check", "--offline")
    assert run.returncode == 1
    assert " ".join(run.stdout.split()).startswith(f"FAIL database: {NO_TABLES}")
    assert "stored secrets" not in run.stdout
    assert "settings" in run.stdout
    assert "Traceback" not in run.stderr
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_check_after_half_of_the_migrations_says_so_too(site: Site, tmp_path: Path) -> None:
    entry = sqlite(tmp_path / "half.sqlite3")
    assert site(entry, "migrate", "ontraport_connect", "0001").returncode == 0
    found = of_the_database(site(entry, "ontraport", "check", "--offline", "--json"))
    assert [(each["level"], each["text"]) for each in found] == [("error", NO_TABLES)]


def test_check_of_a_migrated_database_is_content() -> None:
    found = [each for each in Run("check", "--offline", "--json").data["findings"] if each["subject"] == "database"]
    assert [(each["level"], each["text"]) for each in found] == [("ok", "all tables are there")]


@pytest.mark.parametrize("arguments", SUBCOMMANDS, ids=" ".join)
def test_other_subcommands_say_the_same(arguments: list[str]) -> None:
    """On the tests' database, as it is before ``migrate``: its tables have other names for a moment."""

    def without_tables(execute: Any, sql: str, *rest: Any) -> Any:
        return execute(sql.replace('"ontraport_connect_', '"not_there_'), *rest)

    def nothing_applied(execute: Any, sql: str, *rest: Any) -> Any:
        return without_tables(
            execute, sql.replace('FROM "django_migrations"', 'FROM "django_migrations" WHERE 1 = 0'), *rest
        )

    with connection.execute_wrapper(nothing_applied):
        run = Run(*arguments)
    assert (run.status, run.problem) == (1, NO_TABLES)


def test_an_error_that_is_of_another_kind_is_not_explained_away() -> None:
    def fail(*args: Any) -> Any:
        if "ontraport" in args[1]:
            raise DatabaseError("something else")
        return args[0](*args[1:])

    with connection.execute_wrapper(fail), pytest.raises(DatabaseError, match="something else"):
        Run("accounts")


def test_role_that_may_not_read_the_table_of_migrations_is_not_stopped() -> None:
    def forbid(*args: Any) -> Any:
        if '"django_migrations"' in args[1]:
            raise ProgrammingError("permission denied for table django_migrations")
        return args[0](*args[1:])

    with connection.execute_wrapper(forbid):
        assert "stored secrets" in Run("check", "--offline").output


@pytest.mark.parametrize(
    "arguments", [["check", "--offline"], ["accounts"], ["refresh", "--all", "--json"]], ids=" ".join
)
def test_database_that_cannot_be_reached_is_one_sentence_without_its_password(site: Site, arguments: list[str]) -> None:
    entry = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": free_port(),
        "NAME": "shop",
        "USER": "shop",
        "PASSWORD": "correct-horse-battery-staple",
    }
    run = site(entry, "ontraport", *arguments)
    assert run.returncode == (1 if arguments[0] == "check" else 75)
    said = " ".join((run.stdout + run.stderr).split())
    assert 'The database "default" (postgresql) cannot be reached (OperationalError).' in said.replace('\\"', '"')
    assert "Traceback" not in said
    assert "correct-horse" not in said
