"""Real workers on a real broker, or cron without one: lost, repeated and interrupted tasks change nothing but the time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import heartbeat
from tests.support.accounts import linked, read, token_of, user_named
from tests.support.servers import Process, Valkey, wait_until
from tests.support.strict_server import StrictServer
from tests.support.workers import send, worker

pytestmark = pytest.mark.django_db(transaction=True)

Environ = Callable[..., dict[str, str]]
ONCE = pytest.mark.postgresql
"""How a pool handles signals and greenlets does not depend on the database, so one of them is enough."""


@pytest.fixture
def environ(strict: StrictServer, valkey: Valkey, child_environ: Environ) -> dict[str, str]:
    return child_environ(
        **strict.settings,
        CELERY_BROKER_URL=valkey.url,
        CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP=True,
        CELERY_WORKER_ENABLE_REMOTE_CONTROL=False,
    )


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
        signs = heartbeat.signs()
        assert signs.beat.is_alive
        assert signs.worker.is_alive
        assert signs.task_delay is not None

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


@ONCE
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_every_kind_of_pool_refreshes_what_is_due_once(
    strict: StrictServer, valkey: Valkey, environ: dict[str, str], tmp_path: Path, pool: str
) -> None:
    """It leaves the accounts of deactivated people alone, unless they belong to a tenant."""
    leaver = user_named("leaver")
    leaver.is_active = False
    leaver.save()
    theirs = linked("theirs", user=leaver)
    pks = [linked(f"g{number}").pk for number in range(99)] + [linked("tenants", user=leaver, tenant="acme").pk]
    strict.behave(delay=0.2)
    with worker(environ, tmp_path / "log", "--pool", pool, "--concurrency", "4") as process:
        send(valkey, "refresh_expiring_tokens")
        for at in (0, 0, 50, 50):
            send(valkey, "refresh_accounts", [theirs.pk, *pks[at : at + 50]])
        wait_until(lambda: not OntraportAccount.objects.filter(pk__in=pks, version=0).exists(), "all of them")
    assert f"4 ({pool if pool != 'threads' else 'thread'}" in process.output
    assert (strict.requests, strict.dead, read(theirs).version) == (100, [], 0)
    assert strict.endpoint.most_at_once > 4
    assert [token_of(OntraportAccount(pk=pk)) for pk in pks] == [
        *(f"a.g{number}.1" for number in range(99)),
        "a.tenants.1",
    ]
    assert "a.g" not in process.output


@pytest.mark.parametrize(
    "told",
    [
        ("prefork", signal.SIGTERM),
        pytest.param(("prefork", signal.SIGTERM, signal.SIGQUIT), marks=ONCE),
        pytest.param(("threads", signal.SIGTERM, signal.SIGTERM), marks=ONCE),
        pytest.param(("gevent", signal.SIGTERM, signal.SIGTERM), marks=ONCE),
    ],
    ids=lambda told: " ".join(map(str, told)),
)
def test_a_worker_that_is_told_to_end_saves_what_it_has_asked_for(
    strict: StrictServer, valkey: Valkey, environ: dict[str, str], tmp_path: Path, told: Any
) -> None:
    """Also when told twice, with patience (SIGTERM) or without (SIGQUIT)."""
    pool, *signals = told
    pks = [linked(f"g{number}").pk for number in range(5)]
    strict.behave(hold="after")
    with worker(environ, tmp_path / "log", "--pool", pool, "--concurrency", "1") as process:
        send(valkey, "refresh_accounts", pks)
        strict.wait_for_held(5)
        for number, each in enumerate(signals, start=1):
            process.child.send_signal(each)
            process.wait_for_line(rf"(?s)(.*(Warm shutdown|Ctrl\+C again)){{{number}}}")
        strict.release()
        assert process.child.wait(20) >= 0, process.output
    assert refreshed(1)()
    assert (strict.requests, strict.dead) == (5, [])
    assert "a.g" not in process.output


@contextmanager
def cron(environ: dict[str, str], log: Path) -> Iterator[Process]:
    process = Process(sys.executable, "-m", "django", "ontraport", "refresh", "--all", log=log, environ=environ)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)


def test_cron_refreshes_what_is_due_without_a_broker_and_two_of_them_do_not_meet(
    strict: StrictServer, child_environ: Environ, tmp_path: Path
) -> None:
    """The second starts before the first has ended. Neither touches the accounts of deactivated people."""
    leaver = user_named("leaver")
    leaver.is_active = False
    leaver.save()
    theirs = linked("theirs", user=leaver)
    pks = [linked(f"g{number}").pk for number in range(120)]
    strict.behave(delay=0.02)
    environ = child_environ(**strict.settings, CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    with cron(environ, tmp_path / "one") as one, cron(environ, tmp_path / "two") as two:
        assert (one.child.wait(30), two.child.wait(30)) == (0, 0), one.output + two.output
    assert [token_of(OntraportAccount(pk=pk)) for pk in pks] == [f"a.g{number}.1" for number in range(120)]
    assert (strict.requests, strict.dead, read(theirs).version) == (120, [], 0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_cron_that_is_told_to_end_saves_what_it_has_asked_for(
    strict: StrictServer, child_environ: Environ, tmp_path: Path, how: signal.Signals
) -> None:
    for number in range(5):
        linked(f"g{number}")
    strict.behave(hold="after")
    with cron(child_environ(**strict.settings), tmp_path / "log") as process:
        strict.wait_for_held(5)
        process.child.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            process.child.wait(0.5)
        strict.release()
        process.child.wait(20)
    assert refreshed(1)(), process.output
    assert (strict.requests, strict.dead) == (5, [])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_one_refresh_that_is_interrupted_is_saved_all_the_same(
    strict: StrictServer, child_environ: Environ, tmp_path: Path, how: signal.Signals
) -> None:
    account = linked("one")
    strict.behave(hold="after")
    process = Process(
        *(sys.executable, "-m", "django", "ontraport", "refresh", str(account.uid)),
        log=tmp_path / "log",
        environ=child_environ(**strict.settings),
    )
    strict.wait_for_held()
    process.child.send_signal(how)
    with suppress(subprocess.TimeoutExpired):
        process.child.wait(0.5)
    strict.release()
    process.stop(signal.SIGCONT)
    assert (token_of(account), strict.dead) == ("a.one.1", []), process.output


@pytest.mark.parametrize("limit", ["CELERY_TASK_TIME_LIMIT", "CELERY_TASK_SOFT_TIME_LIMIT"])
@ONCE
def test_a_limit_that_the_site_has_for_its_tasks_does_not_kill_a_batch(
    strict: StrictServer, valkey: Valkey, environ: dict[str, str], tmp_path: Path, limit: str
) -> None:
    """Celery's time limit is a `kill -9` while tokens are on their way."""
    pks = [linked(f"g{number}").pk for number in range(5)]
    strict.behave(hold="after")
    limits = json.dumps({**json.loads(environ["TEST_SETTINGS"]), limit: 1})
    with worker({**environ, "TEST_SETTINGS": limits}, tmp_path / "log", "--pool", "prefork", "--concurrency", "1"):
        send(valkey, "refresh_accounts", pks)
        strict.wait_for_held(5)
        ended = time.monotonic() + 2.5
        wait_until(lambda: time.monotonic() > ended, "the limit")
        strict.release()
        wait_until(refreshed(1), "the answers to be saved")
    assert (strict.requests, strict.dead) == (5, [])
