"""A database of an earlier version, with rows, migrates forward, and its links work."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import PROJECT
from tests.support.strict_server import StrictServer
from tests.upgrades.__main__ import SETTINGS

HERE = Path(__file__).parent


class OldSite:
    """A site whose SQLite database was written by an earlier version."""

    def __init__(self, folder: Path, dump: Path, ontraport: dict[str, Any]) -> None:
        self.path = folder / "site.sqlite3"
        with sqlite3.connect(self.path) as connection:
            connection.executescript(dump.read_text())
        connection.close()
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.path)}
        self.settings = {**SETTINGS, **ontraport, "DATABASES": {"default": database}}

    def manage(self, *arguments: str, status: int = 0) -> str:
        environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_SETTINGS": json.dumps(self.settings)}
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=PROJECT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout


def findings(output: str, subject: str) -> list[tuple[str, str]]:
    return [(each["level"], each["text"]) for each in json.loads(output)["findings"] if each["subject"] == subject]


@pytest.mark.parametrize("dump", sorted(HERE.glob("*.sql")), ids=lambda dump: dump.stem)
def test_a_database_of_an_earlier_version_goes_on(dump: Path, tmp_path: Path, strict: StrictServer) -> None:
    site = OldSite(tmp_path, dump, strict.settings)
    unmigrated = site.manage("ontraport", "check", "--offline", "--json", status=1)
    assert findings(unmigrated, "database")[0][0] == "error"
    site.manage("migrate", "--verbosity", "0")
    found = site.manage("ontraport", "check", "--offline", "--json", status=1)  # nobody refreshed for a while
    assert findings(found, "database") == [("ok", "all tables are there")]
    assert findings(found, "secrets") == [("ok", "all of 3 rows can be decrypted")]
    assert findings(found, "installation")[0][0] == "ok"
    assert findings(found, "reconnect") == [("ok", "1 needs a reconnect")]

    refreshed = json.loads(site.manage("ontraport", "refresh", "--all", "--json"))
    assert refreshed["outcomes"] == {"refreshed": 1}
    assert strict.endpoint.grants["old"].refreshes == 1
    listed = json.loads(site.manage("ontraport", "accounts", "--json"))
    assert len(listed) == 3
    exported = json.loads(site.manage("ontraport", "export", "maya", "--json"))
    assert [account["label"] for account in exported["accounts"]] == ["Shop", "", ""]
    assert [event["kind"] for event in exported["events"]][:3] == ["linked", "refresh_failing", "recovered"]
    site.manage("migrate", "ontraport_connect", "zero", "--verbosity", "0")
