"""Old events and idle rows of the rate limiter are deleted, a bounded number a run, after the work that matters."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from django.db import OperationalError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ontraport_connect import staff, tasks
from ontraport_connect.models import EventKind, OntraportBudget, OntraportEvent
from ontraport_connect.refreshing import heartbeat
from ontraport_connect.staff import notice_memory, retention
from ontraport_connect.using import rate_limiter
from ontraport_connect.using.rate_window import State
from tests.refreshing.test_batches import many
from tests.support.command import Run
from tests.support.copies import mark_as_copied, new_installation
from tests.support.linked import key_account, person
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def queue() -> Iterator[Celery]:
    """A Celery app with an in-memory broker."""
    app = Celery("tests", broker="memory://", set_as_current=True)
    yield app
    app.control.purge()
    app.close()


@pytest.fixture(autouse=True)
def tidies_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run looks for idle rows, and not one in sixty."""
    monkeypatch.setattr(retention, "SHARE", 1)


def events(*days: float) -> None:
    """One event for each age in days."""
    now = timezone.now()
    OntraportEvent.objects.bulk_create(
        OntraportEvent(account_uid=uuid.uuid4(), kind=EventKind.LINKED, at=now - timedelta(days=age)) for age in days
    )


def ages() -> list[int]:
    return sorted((timezone.now() - at).days for at in OntraportEvent.objects.values_list("at", flat=True))


def called(key: str, ago: timedelta) -> None:
    """A row of the rate limiter that was last written that long ago."""
    at = round((timezone.now() - ago).timestamp() * 1000)
    OntraportBudget.objects.create(key=key, state=State(calls=(at,), seen=at).write(), version=1)


@pytest.mark.parametrize(
    ("keep", "left"), [(730, [1, 729]), (timedelta(days=7), [1]), (0.5, []), (None, [1, 729, 731, 5000])]
)
def test_events_are_kept_as_long_as_the_setting_says(keep: Any, left: list[int]) -> None:
    events(1.5, 729.5, 731.5, 5000.5)
    with override_settings(ONTRAPORT_KEEP_EVENTS=keep):
        staff.delete_old_rows()
    assert ages() == left


def test_one_run_deletes_a_bounded_number_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LIMIT", 2)
    events(800.5, 900.5, 1000.5)
    for number in range(3):
        called(f"idle{number}", timedelta(days=2))
    staff.delete_old_rows()
    assert (ages(), OntraportBudget.objects.count()) == ([800], 1)
    staff.delete_old_rows()
    assert (ages(), OntraportBudget.objects.count()) == ([], 0)


def test_where_nothing_is_old_it_costs_one_query_a_table() -> None:
    events(1)
    staff.delete_old_rows()
    with CaptureQueriesContext(connection) as queries:
        staff.delete_old_rows()
    sql = [query["sql"] for query in queries if "ontraportservice" not in query["sql"]]
    assert [each.split()[0] for each in sql] == ["SELECT", "SELECT"]


def test_idle_rows_of_the_rate_limiter_are_deleted_and_no_others() -> None:
    called("gone", timedelta(hours=25))
    called("quiet", timedelta(hours=23))
    OntraportBudget.objects.create(key="new")
    OntraportBudget.objects.create(
        key=notice_memory.KEY, state='{"next_round": 0.0, "retries": {"u": [1, 1764076408.123456]}}'
    )
    rate_limiter.reserve(key_account(person("maya"), ontraport_id="187157"), patience=1)
    staff.delete_old_rows()
    assert sorted(OntraportBudget.objects.values_list("key", flat=True)) == [
        "account:187157",
        "new",
        "notices",
        "quiet",
    ]


def test_the_rate_limiter_goes_on_where_its_row_was_deleted() -> None:
    account = key_account(person("maya"), ontraport_id="187157")
    called("account:187157", timedelta(days=2))
    staff.delete_old_rows()
    assert rate_limiter.reserve(account, patience=1).wait == 0
    assert len(State.read(OntraportBudget.objects.get().state).calls) == 1


def test_the_table_of_the_rate_limiter_is_not_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SHARE", 0)
    called("gone", timedelta(days=2))
    staff.delete_old_rows()
    assert OntraportBudget.objects.count() == 1


def test_a_copied_database_stays_as_it_is() -> None:
    events(1000.5)
    with new_installation():
        mark_as_copied()
        staff.delete_old_rows()
    assert 1000 in ages()


def test_the_beat_task_deletes_old_events(strict: StrictServer, queue: Celery) -> None:
    events(1000.5)
    tasks.refresh_expiring_tokens()
    assert ages() == []


def test_refresh_all_deletes_old_events(strict: StrictServer) -> None:
    events(1000.5)
    Run("refresh", "--all")
    assert ages() == []


def broken(execute: Any, sql: str, params: Any, is_many: bool, context: Any) -> Any:
    """A database whose table of events fails."""
    if "ontraport_connect_ontraportevent" in sql:
        raise OperationalError("broken")
    return execute(sql, params, is_many, context)


def test_deleting_that_fails_holds_up_no_refresh(strict: StrictServer, queue: Celery) -> None:
    pks = many(3)
    with connection.execute_wrapper(broken), pytest.raises(OperationalError):
        tasks.refresh_expiring_tokens()
    assert heartbeat.signs().beat.is_alive
    with queue.connection_for_read() as broker, broker.SimpleQueue("celery") as messages:
        sent = [messages.get_nowait().payload[0] for _ in range(len(messages))]
    assert [pks] in sent
