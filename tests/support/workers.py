"""Celery workers of the test site, in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from tests.support.servers import Process, Valkey

QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")


@contextmanager
def worker(environ: dict[str, str], log: Path, *options: str) -> Iterator[Process]:
    if "gevent" in options:  # coverage follows threads and would mix up greenlets
        environ = {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}
    process = Process(
        *(sys.executable, "-m", "celery", "-A", "tests.support.celery_app", "worker", *QUIET, *options),
        log=log,
        environ=environ,
    )
    try:
        process.wait_for_line(r" ready\.")
        yield process
    finally:
        process.stop()


def send(valkey: Valkey, task: str, *args: Any) -> None:
    """Send what beat sends, or what the broker delivers again."""
    with Celery(broker=valkey.url, set_as_current=False) as app:
        app.send_task(f"ontraport_connect.tasks.{task}", args)
