"""A full queue, stopped workers, a stopped beat and a broker that is away are told apart, with real workers on a real broker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.utils import timezone

from ontraport_connect.management.asking_workers import ask_workers
from ontraport_connect.models import OntraportService
from ontraport_connect.refreshing import heartbeat
from ontraport_connect.schedule import BEAT_SCHEDULE
from ontraport_connect.tasks import due, refresh_accounts, refresh_expiring_tokens
from tests.support.accounts import linked
from tests.support.command import Run
from tests.support.servers import Process, Valkey, free_port, wait_until
from tests.support.strict_server import StrictServer
from tests.support.workers import QUIET

pytestmark = pytest.mark.django_db(transaction=True)

MINUTES = 12
Environ = Callable[..., dict[str, str]]


@contextmanager
def current(broker: str | None, **settings: Any) -> Iterator[Celery]:
    """The Celery app of the site, as ``manage.py`` has it."""
    app = Celery("site", broker=broker, set_as_current=True)
    app.conf.update(settings)
    yield app
    app.close()


@pytest.fixture
def app(valkey: Valkey, strict: StrictServer) -> Iterator[Celery]:
    linked("one", refresh_at=timezone.now() + timedelta(hours=1))
    with current(valkey.url) as app:
        yield app


@contextmanager
def worker(
    valkey: Valkey, child_environ: Environ, log: Path, module: str = "tests.drill.slow_worker"
) -> Iterator[None]:
    process = Process(
        *(sys.executable, "-m", "celery", "-A", module, "worker", *QUIET, "--pool", "prefork", "--concurrency", "1"),
        log=log,
        environ=child_environ(CELERY_BROKER_URL=valkey.url),
    )
    try:
        process.wait_for_line(r" ready\.")
        yield
    finally:
        process.stop(timeout=0.5)


def was_well(minutes: int) -> None:
    """Beat and a worker were seen so many minutes ago, by the clock of the database."""
    heartbeat.record_beat()
    heartbeat.record_worker()
    at = timezone.now() - timedelta(minutes=minutes)
    OntraportService.objects.update(beat_at=at, worker_at=at)


def beat_sends(app: Celery, times: int) -> None:
    for _ in range(times):
        app.send_task(refresh_expiring_tokens.name)


def told() -> tuple[str, dict[str, Any] | None]:
    """What ``ontraport check`` says of the queue: its last finding on background jobs, and the numbers for machines."""
    data = Run("check", "--json").data
    *others, last = [each for each in data["findings"] if each["subject"] == "heartbeat"]
    assert [(each["text"].partition(": ")[0], each["hint"]) for each in others] == [
        ("beat", last["hint"]),
        ("worker", last["hint"]),
    ]
    assert {each["level"] for each in [*others, last]} == {"error"}
    return last["text"], data["queue"]


def test_a_full_queue_is_told_from_stopped_workers_and_from_a_stopped_beat(
    app: Celery, valkey: Valkey, child_environ: Environ, tmp_path: Path
) -> None:
    was_well(MINUTES)
    assert told() == (
        "queue: no worker answers, 0 tasks wait",
        {"is_broker_there": True, "answering": 0, "able": 0, "waiting": 0},
    )
    with worker(valkey, child_environ, tmp_path / "log"):
        text, queue = told()
        assert text == "queue: 1 worker answers, 0 tasks wait: beat sends none, or this app's tasks fail"
        for _ in range(20):
            app.send_task("shop.slow", (600,))
        wait_until(lambda: "shop.slow" in (tmp_path / "log").read_text(), "the worker to be busy")
        beat_sends(app, MINUTES)
        text, queue = told()
        assert queue is not None
        assert text == (
            f"queue: 1 worker answers, but has not got to this app's tasks for {MINUTES} minutes: its queue is full"
            f" ({queue['waiting']} tasks wait)"
        )
        assert 20 + MINUTES - 1 <= queue["waiting"] <= 20 + MINUTES
    assert told()[0].startswith("queue: no worker answers, ")
    valkey.stop()
    assert told()[0] == "queue: the broker does not answer"


def test_workers_of_somebody_else_are_not_taken_for_ours(
    app: Celery, valkey: Valkey, child_environ: Environ, tmp_path: Path
) -> None:
    (tmp_path / "strangers.py").write_text(f"from celery import Celery\napp = Celery(broker={valkey.url!r})\n")
    was_well(MINUTES)
    environ = {**child_environ(), "PYTHONPATH": str(tmp_path)}
    process = Process(
        *(sys.executable, "-m", "celery", "-A", "strangers", "worker", *QUIET, "--pool", "threads"),
        log=tmp_path / "log",
        environ=environ,
    )
    try:
        process.wait_for_line(r" ready\.")
        assert told()[0] == "queue: 1 worker answers, but it does not know this app's tasks"
    finally:
        process.stop(timeout=2)


def test_workers_that_are_behind_say_by_how_much(
    app: Celery, valkey: Valkey, child_environ: Environ, tmp_path: Path
) -> None:
    refresh_accounts.apply_async(([],), headers=due(heartbeat.database_time() - 60 * MINUTES - 5))
    with worker(valkey, child_environ, tmp_path / "log"):
        wait_until(lambda: heartbeat.signs().worker.is_alive, "the task to be run")
        beat_sends(app, 1)
        wait_until(lambda: heartbeat.signs().beat.is_alive, "the task of beat to be run")
    data = Run("check", "--json").data
    assert [
        (each["level"], each["text"].partition("ago")[2]) for each in data["findings"] if each["subject"] == "heartbeat"
    ] == [("ok", ""), ("warning", f", but runs this app's tasks {MINUTES} minutes late")]
    assert 60 * MINUTES < data["numbers"]["task_delay_seconds"] < 60 * MINUTES + 60
    assert data["queue"] is None


def test_a_beat_entry_may_name_a_queue_of_its_own(
    app: Celery, valkey: Valkey, child_environ: Environ, tmp_path: Path
) -> None:
    (entry,) = BEAT_SCHEDULE.values()
    app.conf.beat_schedule = {"ours": {**entry, "options": {"queue": "slow"}}, "other": {"task": "shop.slow"}}
    app.send_task("shop.slow", queue="slow")
    app.send_task("shop.slow", queue="elsewhere")
    state = ask_workers()
    assert state is not None
    assert state.waiting == 1


@pytest.mark.parametrize(
    ("broker", "settings"),
    [
        (None, {}),
        ("memory://", {}),
        ("filesystem://", {}),
        ("redis://127.0.0.1:1/0", {"worker_enable_remote_control": False}),
        ("nonsense://:hunter2@host", {}),
        ("redis://127.0.0.1:port/0", {}),
    ],
)
def test_who_cannot_be_asked_leaves_the_old_words(strict: StrictServer, broker: str | None, settings: Any) -> None:
    was_well(MINUTES)
    with current(broker, **settings):
        run = Run("check", "--json")
    found = [each for each in run.data["findings"] if each["subject"] == "heartbeat"]
    assert [each["text"].partition(":")[0] for each in found] == ["beat", "worker"]
    assert all(each["hint"].startswith("Start Celery's beat and worker") for each in found)
    assert run.data["queue"] is None
    assert "hunter2" not in run.output + run.progress


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_what_a_broker_says_that_does_not_answer_is_kept(strict: StrictServer, scheme: str) -> None:
    was_well(MINUTES)
    with current(f"{scheme}://user:hunter2@127.0.0.1:{free_port()}/0"):
        run = Run("check")
    assert "background jobs: queue: the broker does not answer" in run.output
    assert "hunter2" not in run.output + run.progress + run.problem


def fails(*args: object, **kwargs: object) -> None:
    raise RuntimeError("hunter2")


def test_a_router_of_the_site_that_fails_is_not_taken_for_the_broker(
    app: Celery, valkey: Valkey, child_environ: Environ, tmp_path: Path
) -> None:
    app.conf.task_routes = (fails,)
    with worker(valkey, child_environ, tmp_path / "log"):
        assert ask_workers() is None


def test_offline_nobody_is_asked(strict: StrictServer, valkey: Valkey) -> None:
    was_well(MINUTES)
    with current(valkey.url):
        data = Run("check", "--offline", "--json").data
    assert data["queue"] is None
    assert data["numbers"]["worker_age_seconds"] >= 60 * MINUTES
