"""Real workers on a real broker: what they lose, get twice, or are told to leave changes nothing but the time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.utils import timezone

from ontraport_connect import heartbeat
from ontraport_connect.models import OntraportAccount
from tests.accounts import linked
from tests.servers import Process, Valkey, wait_until
from tests.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

Environ = Callable[..., dict[str, str]]
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")


@contextmanager
def worker(environ: dict[str, str], log: Path, *options: str) -> Iterator[Process]:
    process = Process(
        *(sys.executable, "-m", "celery", "-A", "tests.celery_app", "worker", *QUIET, *options),
        log=log,
        environ=environ,
    )
    try:
        process.wait_for_line(r" ready\.")
        yield process
    finally:
        process.stop()


@pytest.fixture
def environ(strict: StrictServer, valkey: Valkey, child_environ: Environ) -> dict[str, str]:
    return child_environ(
        **strict.settings,
        CELERY_BROKER_URL=valkey.url,
        CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP=True,
        CELERY_WORKER_ENABLE_REMOTE_CONTROL=False,
    )


def send(valkey: Valkey, task: str, *args: Any) -> None:
    """Send what beat sends, or the broker delivers again."""
    with Celery(broker=valkey.url, set_as_current=False) as app:
        app.send_task(f"ontraport_connect.tasks.{task}", args)


def refreshed(times: int) -> Callable[[], bool]:
    return lambda: not OntraportAccount.objects.exclude(version=times).exists()


def make_due() -> None:
    OntraportAccount.objects.update(refresh_at=timezone.now())


def test_a_broker_that_forgets_repeats_or_dies_costs_no_link(
    strict: StrictServer, valkey: Valkey, environ: dict[str, str], tmp_path: Path
) -> None:
    pks = [linked(f"g{number}").pk for number in range(30)]
    strict.behave(delay=0.02)
    with worker(environ, tmp_path / "log", "--pool", "threads", "--concurrency", "4"):
        for _ in range(3):
            send(valkey, "refresh_accounts", pks)
        wait_until(refreshed(1), "a batch that is delivered three times")
        assert strict.requests == 30

        make_due()
        for _ in range(2):
            send(valkey, "refresh_expiring_tokens")
        wait_until(refreshed(2), "two beats at once")
        assert strict.requests == 60
        assert all(pulse.is_alive for pulse in heartbeat.pulses().values())

        make_due()
        strict.behave(hold="after")
        send(valkey, "refresh_expiring_tokens")
        strict.wait_for_held(30)
        valkey.flush()
        valkey.stop()
        strict.release()
        wait_until(refreshed(3), "the answers to be saved while the broker is away")
        valkey.start()

        make_due()
        send(valkey, "refresh_expiring_tokens")
        wait_until(refreshed(4), "the worker to find the broker again", timeout=30)
    assert (strict.requests, strict.dead) == (120, [])


def test_a_worker_that_is_told_to_end_saves_what_it_has_asked_for(
    strict: StrictServer, valkey: Valkey, environ: dict[str, str], tmp_path: Path
) -> None:
    pks = [linked(f"g{number}").pk for number in range(5)]
    strict.behave(hold="after")
    with worker(environ, tmp_path / "log", "--pool", "prefork", "--concurrency", "1") as process:
        send(valkey, "refresh_accounts", pks)
        strict.wait_for_held(5)
        process.child.send_signal(signal.SIGTERM)
        process.wait_for_line(r"Warm shutdown")
        strict.release()
        assert process.child.wait(20) == 0, process.output
    assert refreshed(1)()
    assert (strict.requests, strict.dead) == (5, [])
    assert "a.g" not in process.output
