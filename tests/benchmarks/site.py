"""What the benchmarks share: the site's database, its workers, the token endpoint in a process of its own, and due accounts."""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import override_settings
from django.test.utils import setup_databases, teardown_databases
from django.utils import timezone

from ontraport_connect.models import OntraportAccount, OntraportRevocation
from tests.support.servers import Process, Valkey, wait_until
from tests.support.strict_server import settings_for

DELAY = 0.05
"""Seconds that the token endpoint takes to answer."""


class Site:
    def __init__(self, url: str, valkey: Valkey, directory: Path) -> None:
        self.url = url
        self.valkey = valkey
        self.directory = directory
        self.numbers = itertools.count()

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment of a process of this site."""
        entry = {name: value for name, value in connection.settings_dict.items() if name != "TEST"}
        handed_over = {
            "DATABASES": {"default": entry},
            "CELERY_BROKER_URL": self.valkey.url,
            "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
            **settings_for(self.url),
        }
        return {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "BENCHMARK_TOKEN_URL": f"{self.url}/token",
            "TEST_SETTINGS": json.dumps(handed_over),
        }

    def log(self) -> Path:
        """Return a log file for one process, so that its output is not mistaken for the next one's."""
        return self.directory / f"{next(self.numbers)}.log"

    @contextmanager
    def worker(self, *options: str, **settings: Any) -> Iterator[Process]:
        """Run a Celery worker of this site with these additional settings, once it is ready."""
        environ = self.environ
        environ["TEST_SETTINGS"] = json.dumps({**json.loads(environ["TEST_SETTINGS"]), **settings})
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
        process = Process(
            *(sys.executable, "-m", "celery", "-A", "tests.support.celery_app", "worker", *quiet, *options),
            log=self.log(),
            environ=environ,
        )
        try:
            process.wait_for_line(r"celery@\S+ v\d")
            yield process
        finally:
            process.stop()


@contextmanager
def open_site() -> Iterator[Site]:
    directory = Path(tempfile.mkdtemp(prefix="benchmark-"))
    server = Process(
        *(sys.executable, "-m", "tests.support.strict_server", "--delay", str(DELAY)), log=directory / "server.log"
    )
    databases = setup_databases(verbosity=0, interactive=False)
    try:
        url = server.wait_for_line(r"ready at (\S+)")[1]
        with Valkey() as valkey, override_settings(**settings_for(url)):
            yield Site(url, valkey, directory)
    finally:
        teardown_databases(databases, verbosity=0)
        server.stop()


def forget_accounts() -> None:
    """Take all accounts away at once, with what hangs on them: one at a time, each would leave a grant to revoke and an event."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {OntraportAccount._meta.db_table}, {OntraportRevocation._meta.db_table} CASCADE")


def due_accounts(prefix: str, count: int, *, spread: float = 0.0) -> list[int]:
    """Create accounts whose tokens become due within ``spread`` seconds, the first of them now."""
    forget_accounts()
    user = get_user_model().objects.get_or_create(username="benchmark")[0]
    now = timezone.now()
    rows = [
        OntraportAccount(
            user=user,
            access_token=f"a.{prefix}{number}.0",
            refresh_token=f"r.{prefix}{number}.0",
            scope="mcp:tools",
            expires_at=now + timedelta(seconds=600),
            refresh_at=now + timedelta(seconds=spread * number / count),
        )
        for number in range(count)
    ]
    return [row.pk for row in OntraportAccount.objects.bulk_create(rows, batch_size=1000)]


def seconds_until_all_are_refreshed(started: float, timeout: float = 300) -> float:
    wait_until(lambda: not OntraportAccount.objects.filter(version=0).exists(), "all refreshes", timeout)
    return time.monotonic() - started


def table(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text, with a column for each name."""
    names = list(rows[0])
    lines = [[str(row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in [names, *lines]) for column in range(len(names))]
    text = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in [names, *lines]]
    return "\n".join([f"\n{title}", text[0], "  ".join("-" * width for width in widths), *text[1:]])
