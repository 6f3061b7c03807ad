"""A pooler that hands connections on after each transaction: what this app needs of a connection concerns none of its other clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.refreshing.test_one_account import in_thread
from tests.refreshing.test_takeover import ROW, locked, tokens
from tests.support.accounts import linked
from tests.support.pgbouncer import PgBouncer
from tests.support.strict_server import StrictServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

BATCH = """
import django; django.setup()
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches
print(batches.refresh_batch(list(OntraportAccount.objects.values_list("pk", flat=True))))
"""


def limit_of_another_client(pgbouncer: PgBouncer) -> str:
    entry = pgbouncer.entry
    with (
        closing(psycopg.connect(host=entry["HOST"], port=entry["PORT"], dbname=entry["NAME"], user="shop")) as client,
        client.cursor() as cursor,
    ):
        return str(cursor.execute("SELECT current_setting('lock_timeout')").fetchone()[0])  # type: ignore[index]


def test_no_other_client_inherits_how_long_a_save_waits(
    pgbouncer: PgBouncer, strict: StrictServer, child_environ: Callable[..., dict[str, str]]
) -> None:
    """A batch is under way; then it saves, while somebody holds one of its rows."""
    blocked, _ = linked("one"), linked("two")
    environ: Any = child_environ(DATABASES={"default": pgbouncer.entry}, **strict.settings)
    strict.behave(hold="after")

    def batch() -> str:
        done = subprocess.run([sys.executable, "-c", BATCH], env=environ, capture_output=True, text=True, check=False)
        assert "its new tokens are kept beside its row" in done.stderr
        return done.stdout

    with in_thread(batch) as printed:
        strict.wait_for_held(2)
        assert limit_of_another_client(pgbouncer) == "0"
        with locked(ROW, blocked.pk):
            strict.release()
            assert printed.result(60) == "{'refreshed': 2}\n"
            assert tokens() == ["a.one.0", "a.two.1"]
    assert limit_of_another_client(pgbouncer) == "0"
    assert (strict.requests, strict.dead) == (2, [])
