"""Sites with more than one database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.databases import sqlite
from tests.support.servers import PROJECT, Sandbox


def seen_in(site: str, sandbox: Sandbox, databases: Mapping[str, Any]) -> Any:
    """Run the journey of a module of ``tests.support``, with its router, and return what it saw."""
    module = f"tests.support.{site}"
    settings = json.dumps({"DATABASES": databases, "DATABASE_ROUTERS": [f"{module}.Router"]})
    done = subprocess.run(
        [sys.executable, "-m", module, sandbox.url],
        check=False,
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_SETTINGS": settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_a_person_has_just_done_is_seen_although_the_replica_is_behind(sandbox: Sandbox, tmp_path: Path) -> None:
    """https://github.com/mastodon/mastodon/issues/20473"""
    assert seen_in(
        "lagging_replica", sandbox, {name: sqlite(tmp_path / f"{name}.sqlite3") for name in ("default", "replica")}
    ) == {
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


def test_the_apps_tables_alone_are_in_a_second_database(sandbox: Sandbox, tmp_path: Path) -> None:
    databases = {name: sqlite(tmp_path / f"{name}.sqlite3") for name in ("default", "customers")}
    assert seen_in("users_elsewhere", sandbox, databases) == {
        "tables in default": [],
        "users in customers": False,
        "linked": ["ana", "maya", "tomas"],
        "shown": [True, True, True],
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
