"""Sites with more than one database: files of SQLite, or databases of one server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.support.databases import WANTED, sqlite
from tests.support.servers import PROJECT, Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

Databases = Callable[..., dict[str, Any]]


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    """Make empty databases of the kind that TEST_DATABASE names, and return their entries for ``DATABASES``."""
    made: list[str] = []

    def make(*aliases: str) -> dict[str, Any]:
        if WANTED == "sqlite":
            return {alias: sqlite(tmp_path / f"{alias}.sqlite3") for alias in aliases}
        entry = {name: value for name, value in connection.settings_dict.items() if name != "TEST"}
        for alias in aliases:
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE elsewhere_{alias}")
            made.append(f"elsewhere_{alias}")
        return {alias: {**entry, "NAME": f"elsewhere_{alias}"} for alias in aliases}

    yield make
    for name in made:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


def seen_in(site: str, sandbox: Sandbox, databases: Mapping[str, Any]) -> Any:
    """Run the journey of a module of ``tests.support``, with its router, and return what it saw."""
    module = f"tests.support.{site}"
    settings = json.dumps({"DATABASES": databases, "DATABASE_ROUTERS": [f"{module}.Router"]})
    done = subprocess.run(
        [sys.executable, "-m", module, sandbox.url],
        check=False,
        cwd=PROJECT,
        env={**os.environ, "TEST_SETTINGS": settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_a_person_has_just_done_is_seen_although_the_replica_is_behind(
    sandbox: Sandbox, databases: Databases
) -> None:
    """https://github.com/mastodon/mastodon/issues/20473"""
    assert seen_in("lagging_replica", sandbox, databases("default", "replica")) == {
        "linked": "/ontraport/",
        "shown": [True, False],
        "renamed": True,
        "in a view": True,
        "refreshed once": 1,
        "used": {"count": 21},
        "left": [0, False],
        "alive": False,
        "replica": 0,
    }


@pytest.mark.parametrize("atomic", [False, True], ids=["", "ATOMIC_REQUESTS"])
def test_the_apps_tables_alone_are_in_a_second_database(sandbox: Sandbox, databases: Databases, atomic: bool) -> None:
    entries = databases("default", "customers")
    for entry in entries.values():
        entry["ATOMIC_REQUESTS"] = atomic
    assert seen_in("users_elsewhere", sandbox, entries) == {
        "outside transactions in": ["customers", "default"],
        "tables in default": [],
        "users in customers": False,
        "linked": ["ana", "maya", "tomas"],
        "shown": [True, True, True],
        "six answers at once": {"/ontraport/": 1, "/ontraport/problem/used/": 5},
        "in a view": {"count": 21},
        "in code": {"count": 21},
        "refreshed": {"maya": 1, "tomas": 0, "ana": 1},
        "inactive": "inactive_user",
        "told of changes": 2,
        "told": [["ana@example.com"]],
        "list": ["ana", "maya", "tomas"],
        "search": [["tomas"], ["ana"], []],
        "inactive in the list": ["tomas"],
        "pages": [200, 200, 200],
        "exported": ["maya", "tomas", "ana"],
        "refreshed by support": 1,
        "command": ["tomas"],
        "left": ["ana", "tomas"],
        "after a deletion": ["acme", "tomas"],
        "tenant's link": "None",
        "history of who is gone": 1,
        "alive": 0,
        "gone": ["None", 0],
    }
