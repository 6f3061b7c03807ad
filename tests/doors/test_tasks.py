"""The tasks: beat enqueues what is due, oldest first, at the configured rate at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from celery import Celery
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import OntraportRevocation
from ontraport_connect.refreshing import RATE_LIMITED, Signs, circuit_breaker, heartbeat
from ontraport_connect.schedule import BEAT_SCHEDULE
from tests.refreshing.test_batches import many
from tests.refreshing.test_circuit_breaker import let_time_pass
from tests.refreshing.test_one_account import in_thread
from tests.support.accounts import linked, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def app() -> Iterator[Celery]:
    """A Celery app with an in-memory broker whose messages can be read."""
    app = Celery("tests", broker="memory://", set_as_current=True)
    yield app
    app.control.purge()
    app.close()


def sent(app: Celery) -> list[tuple[str, Any, float]]:
    """The enqueued messages: the task's short name, its first argument, and its countdown in seconds."""
    found = []
    with app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        while len(queue):
            message = queue.get_nowait()
            message.ack()
            eta: str | None = message.headers["eta"]
            wait = 0.0 if eta is None else (datetime.fromisoformat(eta) - timezone.now()).total_seconds()
            arguments: list[Any] = message.payload[0]
            found.append((message.headers["task"].rsplit(".")[-1], next(iter(arguments), None), wait))
            assert message.headers["expires"] is None
    return found


def batches_of(app: Celery) -> list[tuple[Any, float]]:
    return [(pks, wait) for name, pks, wait in sent(app) if name == "refresh_accounts"]


def test_beat_enqueues_what_is_due_spread_by_the_rate(strict: StrictServer, app: Celery) -> None:
    pks = many(25)
    with override_settings(ONTRAPORT_REFRESH_RATE=10):
        assert tasks.refresh_expiring_tokens() == 25
    batches = batches_of(app)
    assert [batch for batch, _ in batches] == [pks[:10], pks[10:20], pks[20:]]
    assert [round(wait) for _, wait in batches] == [0, 1, 2]
    assert strict.requests == 0


def test_backlog_is_enqueued_one_interval_at_a_time_oldest_first(strict: StrictServer, app: Celery) -> None:
    pks = many(8)
    with override_settings(ONTRAPORT_REFRESH_RATE=0.1):
        assert tasks.refresh_expiring_tokens() == 6
    batches = batches_of(app)
    assert [batch for batch, _ in batches] == [[pk] for pk in pks[:6]]
    assert [round(wait, -1) for _, wait in batches] == [0, 10, 20, 30, 40, 50]


def test_at_least_one_account_is_enqueued_however_low_the_rate(strict: StrictServer, app: Celery) -> None:
    pks = many(2)
    with override_settings(ONTRAPORT_REFRESH_RATE=0.001):
        assert tasks.refresh_expiring_tokens() == 1
    assert [batch for batch, _ in batches_of(app)] == [pks[:1]]


def test_beat_enqueues_nothing_while_ontraport_asks_to_slow_down(strict: StrictServer, app: Celery) -> None:
    many(2)
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=60.0))
    assert tasks.refresh_expiring_tokens() == 0
    assert batches_of(app) == []


def test_beat_leaves_the_probe_to_a_worker(strict: StrictServer, app: Celery) -> None:
    """The enqueued batch is the probe. If beat used the probe up itself, the circuit breaker would never close."""
    account = linked("one")
    circuit_breaker.hold(OntraportMisconfigured("Ontraport refuses this site.", code="invalid_client"))
    assert tasks.refresh_expiring_tokens() == 0
    let_time_pass()
    assert tasks.refresh_expiring_tokens() == 1
    [(pks, _)] = batches_of(app)
    assert tasks.refresh_accounts(pks) == {"refreshed": 1}
    assert (token_of(account), circuit_breaker.site_standing().hold_code) == ("a.one.1", "")


def test_revocations_are_delivered_when_ontraport_is_back(strict: StrictServer) -> None:
    linked("one").delete()
    linked("two").delete()
    OntraportRevocation.objects.filter(pk=OntraportRevocation.objects.latest("pk").pk).update(
        try_at=timezone.now() + timedelta(hours=1)
    )
    assert tasks.deliver_revocations() == 1
    assert strict.dead == ["one"]


JOBS = [tasks.deliver_revocations, lambda: call_command("ontraport", "refresh", "--all", stdout=StringIO())]


@pytest.mark.parametrize("job", JOBS)
def test_with_autocommit_off_what_a_job_writes_is_committed(strict: StrictServer, job: Callable[[], object]) -> None:
    linked("one").delete()
    settings = connection.settings_dict
    settings["AUTOCOMMIT"] = False
    try:
        with in_thread(job) as done:
            done.result(20)
    finally:
        settings["AUTOCOMMIT"] = True
    assert (strict.dead, OntraportRevocation.objects.count()) == (["one"], 0)
    signs = heartbeat.signs()
    assert signs.worker.is_alive or signs.command.is_alive


def test_with_autocommit_off_a_token_is_spent_once(strict: StrictServer) -> None:
    account = linked("one")
    settings = connection.settings_dict
    settings["AUTOCOMMIT"] = False
    try:
        for _ in range(2):
            with in_thread(lambda: tasks.refresh_accounts([account.pk])) as done:
                done.result(20)
    finally:
        settings["AUTOCOMMIT"] = True
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.parametrize("wanted", [True, False])
def test_notices_are_enqueued_only_where_the_site_wants_them(strict: StrictServer, app: Celery, wanted: bool) -> None:
    with override_settings(ONTRAPORT_NOTIFY=wanted):
        tasks.refresh_expiring_tokens()
    names = [name for name, _, _ in sent(app)]
    assert names == ["deliver_revocations", "check_keys", *(["send_notices"] if wanted else [])]


class Broken:
    """A database that fails for one table."""

    def __init__(self, table: str) -> None:
        self.table = table

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if f"ontraport_connect_{self.table}" in sql:
            raise OperationalError("broken")
        return execute(sql, params, many, context)


@pytest.mark.parametrize(
    ("task", "table"),
    [
        (tasks.refresh_expiring_tokens, "ontraportaccount"),
        (lambda: tasks.refresh_accounts([1]), "ontraportaccount"),
        (tasks.deliver_revocations, "ontraportrevocation"),
        (tasks.check_keys, "ontraportaccount"),
        (tasks.send_notices, "ontraportbudget"),
    ],
    ids=["refresh_expiring_tokens", "refresh_accounts", "deliver_revocations", "check_keys", "send_notices"],
)
def test_task_gives_a_sign_of_life_only_after_its_work(
    strict: StrictServer, app: Celery, task: Callable[[], object], table: str
) -> None:
    """Otherwise everything looks well while no token can be refreshed."""
    with (
        override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI="https://shop.example.com/callback/"),
        connection.execute_wrapper(Broken(table)),
        pytest.raises(OperationalError),
    ):
        task()
    assert heartbeat.signs() == Signs()
    task()
    signs = heartbeat.signs()
    assert [signs.beat.is_alive, signs.worker.is_alive].count(True) == 1


def test_beat_that_may_not_refresh_is_alive(strict: StrictServer, app: Celery) -> None:
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=60.0))
    tasks.refresh_expiring_tokens()
    assert heartbeat.signs().beat.is_alive


def test_the_ready_schedule_names_the_beat_task() -> None:
    [entry] = BEAT_SCHEDULE.values()
    assert entry == {"task": tasks.refresh_expiring_tokens.name, "schedule": 60.0}
