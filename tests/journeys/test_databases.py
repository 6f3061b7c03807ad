"""Sites with more than one database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.databases import sqlite
from tests.support.servers import PROJECT, Sandbox


def test_what_a_person_has_just_done_is_seen_although_the_replica_is_behind(sandbox: Sandbox, tmp_path: Path) -> None:
    """https://github.com/mastodon/mastodon/issues/20473"""
    changes = {
        "DATABASES": {name: sqlite(tmp_path / f"{name}.sqlite3") for name in ("default", "replica")},
        "DATABASE_ROUTERS": ["tests.support.lagging_replica.Router"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.lagging_replica", sandbox.url],
        check=False,
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_SETTINGS": json.dumps(changes)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
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
