"""Signs of life: who did the work, when, and how late. Times are those of the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.models import OntraportBudget, OntraportService
from ontraport_connect.refreshing import Signs, heartbeat
from ontraport_connect.using import rate_store
from tests.support.command import Run
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def pass_time(seconds: float) -> None:
    for note in OntraportBudget.objects.filter(pk__startswith="heartbeat:"):
        told = json.loads(note.state)
        OntraportBudget.objects.filter(pk=note.pk).update(state=json.dumps({**told, "at": told["at"] - seconds}))
    for name in ("beat_at", "worker_at"):
        rows = OntraportService.objects.exclude(**{name: None})
        for row in rows:
            rows.update(**{name: getattr(row, name) - timedelta(seconds=seconds)})


def ran(late: float) -> float | None:
    heartbeat.record_worker(heartbeat.database_time() - late)
    delay = heartbeat.signs().task_delay
    return None if delay is None else round(delay, -1)


def test_who_has_not_been_seen_leaves_nothing_behind() -> None:
    assert heartbeat.standing_and_signs() == (None, Signs())
    assert not OntraportService.objects.exists()


def test_the_command_line_is_neither_beat_nor_worker(strict: StrictServer) -> None:
    assert Run("refresh", "--all").status == 0
    signs = heartbeat.signs()
    assert (signs.beat, signs.worker, signs.command.is_alive) == (heartbeat.NEVER, heartbeat.NEVER, True)
    pass_time(heartbeat.SILENCE + 5)
    assert not heartbeat.signs().command.is_alive


@pytest.mark.parametrize("use_tz", [True, False])
def test_the_age_of_each_is_its_own(strict: StrictServer, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz, TIME_ZONE="America/Caracas"):
        heartbeat.record_command()
        pass_time(100)
        heartbeat.record_worker()
        pass_time(50)
        heartbeat.record_beat()
        signs = heartbeat.signs()
        assert [round(pulse.age, -1) for pulse in (signs.command, signs.worker, signs.beat)] == [150, 50, 0]
        assert signs.command.seen_at is not None
        now = timezone.now()
        assert timezone.is_aware(signs.command.seen_at) is use_tz
        assert 140 < (now - signs.command.seen_at).total_seconds() < 200


def test_the_latest_task_of_a_minute_stands_for_all() -> None:
    """Of several queues one may be long, and an empty one must not hide it."""
    assert ran(0) == 0
    assert ran(700) == 700
    assert ran(0) == 700
    assert ran(705) == 700
    assert ran(900) == 900
    pass_time(heartbeat.WORST_OF + 1)
    assert ran(0) == 0


def test_how_late_tasks_were_is_forgotten_with_the_worker() -> None:
    assert ran(700) == 700
    pass_time(heartbeat.SILENCE + 5)
    assert heartbeat.signs().task_delay is None
    assert not heartbeat.signs().is_late


def test_a_clock_that_is_ahead_makes_nothing_late() -> None:
    assert ran(-600) == 0


def test_a_busy_site_writes_its_signs_of_life_once_a_while() -> None:
    ran(0)
    with CaptureQueriesContext(connection) as found:
        ran(0)
    assert [each["sql"] for each in found if "UPDATE" in each["sql"] and "budget" in each["sql"]] == []


def test_tidying_up_leaves_the_signs_of_life() -> None:
    ran(0)
    heartbeat.record_command()
    pass_time(10**9)
    rate_store.delete_idle_budgets(100)
    assert OntraportBudget.objects.filter(pk__in=(heartbeat.COMMAND, heartbeat.QUEUE)).count() == 2


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("tests", broker="memory://", set_as_current=True)
    yield app
    app.control.purge()
    app.close()


def test_the_message_that_beat_sends_says_when_it_was_due(app: Celery) -> None:
    app.send_task(tasks.refresh_expiring_tokens.name)
    app.send_task("shop.tasks.tidy")
    with app.connection_for_read() as broker, broker.SimpleQueue("celery") as messages:
        ours, theirs = messages.get_nowait(), messages.get_nowait()
        sent_at: Any = ours.headers[tasks.DUE_AT]
        assert abs(sent_at - timezone.now().timestamp()) < 60
        assert tasks.DUE_AT not in theirs.headers
        ours.ack()
        theirs.ack()


@pytest.mark.parametrize(
    ("headers", "is_known"),
    [
        ({}, False),
        ({tasks.DUE_AT: "yesterday"}, False),
        ({tasks.DUE_AT: float("-inf")}, False),
        ({tasks.DUE_AT: 1.0}, True),
    ],
)
def test_only_a_time_says_how_late_a_task_is(strict: StrictServer, app: Celery, headers: Any, is_known: bool) -> None:
    tasks.refresh_accounts.apply(([],), headers=headers, throw=True)
    assert heartbeat.signs().worker.is_alive
    assert heartbeat.signs().is_late is is_known


def test_a_message_that_comes_again_makes_nothing_late(strict: StrictServer, app: Celery) -> None:
    """Its worker was killed, and the broker gave it to another an hour later."""
    task: Any = tasks.refresh_accounts
    task.push_request(headers=tasks.due(1.0), delivery_info={"redelivered": True})
    try:
        task.run([])
    finally:
        task.pop_request()
    assert heartbeat.signs().worker.is_alive
    assert heartbeat.signs().task_delay is None
