"""Sites with a user model of their own: no ``is_active`` column, no e-mail address, keys that are no numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.databases import sqlite
from tests.support.servers import PROJECT, Sandbox


@pytest.mark.parametrize(
    "model", ["bare_users.Member", "bare_users.Clerk", "bare_users.Guest", "bare_users.Subscriber"]
)
def test_a_link_lives_with_the_least_of_a_user_model(sandbox: Sandbox, tmp_path: Path, model: str) -> None:
    """Django asks for no ``is_active`` column; without one everybody is active."""
    changes = {
        "AUTH_USER_MODEL": model,
        "INSTALLED_APPS": [
            *(name for name in settings.INSTALLED_APPS if name != "organizations"),
            "tests.support.bare_users",
        ],
        "DATABASES": {"default": sqlite(tmp_path / "site.sqlite3")},
        "ONTRAPORT_NOTIFY": True,
        "EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend",
    }
    environ = {**os.environ, "TEST_SETTINGS": json.dumps(changes)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bare_users.journey", sandbox.url],
        check=False,
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "linked": "/ontraport/",
        "owner": True,
        "beat": True,
        "command": True,
        "used": {"count": 21},
        "pages": [200] * 6,
        "notices": [0, 0],
        "needed": [[[409, 409, 200, 200], True, 1]] * 2,
        "checks": [],
        "left": 0,
    }
