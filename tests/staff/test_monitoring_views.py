"""The URLs for monitoring: closed without a token, cheap, and right about what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ontraport_connect import monitoring
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import OntraportAccount, OntraportService, Status
from ontraport_connect.monitoring import prometheus
from ontraport_connect.refreshing import RATE_LIMITED, circuit_breaker, heartbeat
from tests.monitoring.scrape import sample
from tests.support.accounts import linked
from tests.support.copies import mark_as_copied, new_installation
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-token-for-monitoring-alone"
Get = Callable[[str], Any]


@pytest.fixture
def get(strict: StrictServer) -> Iterator[Get]:
    def get(name: str) -> Any:
        return Client().get(f"/ontraport/{name}/", headers={"Authorization": f"Bearer {TOKEN}"})

    with override_settings(ONTRAPORT_MONITORING_TOKEN=TOKEN):
        yield get


def alive() -> None:
    heartbeat.record_beat()
    heartbeat.record_worker()


def fresh(grant: str, **values: Any) -> OntraportAccount:
    account: OntraportAccount = linked(grant, refresh_at=timezone.now() + timedelta(hours=1), **values)
    return account


def overdue(grant: str, **age: float) -> OntraportAccount:
    account: OntraportAccount = linked(grant, refresh_at=timezone.now() - timedelta(**age))
    return account


@pytest.mark.parametrize("name", ["health", "metrics"])
@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer ", "Bearer other", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} ", "Bearer \xe9"]
)
def test_only_who_has_the_token_learns_anything(get: Get, name: str, sent: str | None) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    response = Client().get(f"/ontraport/{name}/", headers=headers)
    expected = 200 if sent and sent.strip() == f"Bearer {TOKEN}" and sent == sent.strip() else 401
    assert (response.status_code, response.get("WWW-Authenticate")) == (expected, "Bearer")
    assert b"beat" not in response.content


def test_the_name_of_the_scheme_may_be_written_in_any_case(get: Get) -> None:
    """RFC 9110, 11.1."""
    assert Client().get("/ontraport/metrics/", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("name", ["health", "metrics"])
@pytest.mark.parametrize("setting", [None, ""])
def test_without_the_setting_there_is_nothing(name: str, setting: str | None) -> None:
    with override_settings(ONTRAPORT_MONITORING_TOKEN=setting):
        assert Client().get(f"/ontraport/{name}/", headers={"Authorization": "Bearer "}).status_code == 404


def test_a_healthy_site_says_so(get: Get) -> None:
    fresh("g")
    alive()
    response = get("health")
    body = response.json()
    assert (response.status_code, body["status"], body["problems"], body["warnings"]) == (200, "ok", [], [])
    assert body["seconds"]["oldest_overdue"] == 0
    assert body["seconds"]["beat_age"] < 60
    assert "no-store" in response["Cache-Control"]


def test_a_new_site_without_accounts_is_not_ill(get: Get) -> None:
    response = get("health")
    assert (response.status_code, response.json()["warnings"]) == (200, ["beat_silent", "worker_silent"])
    never = dict.fromkeys(("beat_age", "worker_age", "command_age", "task_delay"))
    assert response.json()["seconds"] == {**never, "oldest_overdue": 0}
    assert not OntraportService.objects.filter(beat_at__isnull=False).exists()


def test_silent_beat_and_workers_are_a_problem_once_there_is_a_token(get: Get) -> None:
    fresh("g")
    heartbeat.record_worker()
    OntraportService.objects.update(beat_at=timezone.now() - timedelta(seconds=heartbeat.SILENCE + 5))
    response = get("health")
    assert (response.status_code, response.json()["problems"]) == (503, ["beat_silent"])


@pytest.mark.parametrize(
    ("minutes", "problems", "warnings"), [(9, [], []), (11, [], ["overdue"]), (61, ["overdue"], [])]
)
def test_a_backlog_is_first_a_warning(get: Get, minutes: int, problems: list[str], warnings: list[str]) -> None:
    alive()
    overdue("g", minutes=minutes)
    body = get("health").json()
    assert (body["problems"], body["warnings"]) == (problems, warnings)
    assert body["seconds"]["oldest_overdue"] >= minutes * 60


def test_a_refused_site_and_a_pause_are_told_apart(get: Get) -> None:
    alive()
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=60))
    assert (get("health").status_code, get("health").json()["warnings"]) == (200, ["rate_limited"])
    text = get("metrics").content.decode()
    assert (sample(text, "rate_limited"), sample(text, "last_refresh_age_seconds")) == (1, float("inf"))
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    assert (get("health").status_code, get("health").json()["problems"]) == (503, ["site_refused"])
    text = get("metrics").content.decode()
    assert (sample(text, "site_refused"), sample(text, "rate_limited")) == (1, 0)


def test_a_copied_database_is_a_problem(get: Get) -> None:
    with new_installation():
        mark_as_copied()
        assert "copied_database" in get("health").json()["problems"]


def test_a_database_that_is_away_is_the_problem(get: Get) -> None:
    def away(*arguments: Any) -> Any:
        raise OperationalError("could not connect to host=db password=hunter2")

    with connection.execute_wrapper(away):
        response, scrape = get("health"), get("metrics")
    assert (response.status_code, response.json()["problems"]) == (503, ["database"])
    assert (scrape.status_code, scrape.content) == (503, b"")
    assert b"hunter2" not in response.content


def test_the_number_of_queries_does_not_follow_the_number_of_accounts(get: Get) -> None:
    fresh("g")
    get("health")

    def queries(name: str) -> int:
        with CaptureQueriesContext(connection) as found:
            get(name)
        return len(found)

    few = queries("health"), queries("metrics")
    for number in range(30):
        overdue(f"g{number}", minutes=number)
    assert (queries("health"), queries("metrics")) == few
    assert few[0] <= 5
    assert few[1] <= 6


def test_the_metrics_of_the_database(get: Get) -> None:
    alive()
    fresh("one", failures=2, refreshed_at=timezone.now())
    overdue("two", minutes=15)
    fresh("three", failures=1, status=Status.NEEDS_RECONNECT)
    response = get("metrics")
    text = response.content.decode()
    assert response["Content-Type"].startswith("text/plain; version=0.0.4")
    assert sample(text, "accounts", method="oauth", state="connected") == 2
    assert sample(text, "accounts", method="oauth", state="needs_reconnect") == 1
    assert (sample(text, "last_refresh_age_seconds") or 0) < 60
    assert (sample(text, "due"), sample(text, "failing")) == (1, 1)
    assert (sample(text, "oldest_due_seconds") or 0) >= 900
    assert sample(text, "site_refused") == 0
    assert sample(text, "pending_revocations") == 0
    assert (sample(text, "heartbeat_age_seconds", process="worker") or 0) < 60


def test_without_the_extra_there_are_no_metrics(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "is_installed", False)
    assert not monitoring.is_prometheus_installed()
    assert get("metrics").status_code == 404
    assert get("health").status_code == 200
