"""Write the database of an earlier version, with rows, as SQL: ``python -m tests.upgrades 0002 > tests/upgrades/0002.sql``.

The rows are made with the models of today and migrated back, so this is run once for a migration, while it is the newest or the last but
one; afterwards the file stays as it is.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

import django
from django.contrib.auth import get_user_model
from django.core.management import call_command

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)

SETTINGS = {
    "SECRET_KEY": "the-secret-key-of-the-upgrade-tests-protects-nothing-at-all",
    "ONTRAPORT_ENCRYPTION_KEYS": ["the-encryption-key-of-the-upgrade-tests"],
    "ONTRAPORT_INSTALLATION": "upgrade-tests",
}


def write(migration: str) -> None:
    folder = Path(tempfile.mkdtemp())
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "old.sqlite3")}
    os.environ["TEST_SETTINGS"] = json.dumps({**SETTINGS, "DATABASES": {"default": database}})
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    call_command("migrate", verbosity=0)
    make_rows()
    call_command("migrate", "ontraport_connect", migration, verbosity=0)
    with sqlite3.connect(database["NAME"]) as connection:
        print("\n".join(connection.iterdump()))


def make_rows() -> None:
    from ontraport_connect import models  # noqa: PLC0415  # Django must be set up first

    maya = get_user_model().objects.create(username="maya")
    tokens = {"access_token": "a.old.0", "refresh_token": "r.old.0", "expires_at": AT, "refresh_at": AT}
    common = {"user": maya, "linked_at": AT, "client_id": "strict-client"}
    oauth = models.OntraportAccount.objects.create(
        **common, **tokens, label="Shop", is_default=True, uid=uuid.UUID(int=1)
    )
    ended = {**tokens, "access_token": "a.gone.0", "refresh_token": "r.gone.0", "refresh_at": None}
    models.OntraportAccount.objects.create(
        **common, **ended, status="needs_reconnect", last_error="invalid_grant", tenant="acme", uid=uuid.UUID(int=2)
    )
    models.OntraportAccount.objects.create(
        **common, method="api_key", app_id="2_1_app", access_token="key", ontraport_id="1", uid=uuid.UUID(int=3)
    )
    for kind in ("linked", "refresh_failing", "recovered"):
        models.OntraportEvent.objects.create(
            account=oauth, account_uid=oauth.uid, user=maya, kind=kind, at=AT, detail="timeout"
        )
    models.OntraportBudget.objects.create(key="1", state="", version=1)


if __name__ == "__main__":
    write(sys.argv[1])
