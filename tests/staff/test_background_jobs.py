"""What ``ontraport check``, the health URL and the metrics say of beat, workers and the command line in their place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect.models import OntraportService
from ontraport_connect.refreshing import Pulse, Signs, heartbeat
from ontraport_connect.staff import background_jobs
from ontraport_connect.staff.background_jobs import QueueState
from tests.monitoring.scrape import sample
from tests.support.accounts import linked
from tests.support.command import Run
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-token-for-monitoring-alone"


@pytest.fixture(autouse=True)
def site(strict: StrictServer) -> Iterator[None]:
    with override_settings(ONTRAPORT_MONITORING_TOKEN=TOKEN):
        linked("one", refresh_at=timezone.now() + timedelta(hours=1))
        yield


def get(name: str) -> Any:
    return Client().get(f"/ontraport/{name}/", headers={"Authorization": f"Bearer {TOKEN}"})


def told() -> list[tuple[str, str]]:
    found = Run("check", "--offline", "--json").data["findings"]
    texts = [(each["level"], each["text"]) for each in found if each["subject"] == "heartbeat"]
    return [(level, re.sub(r"\b\d+ s ago", "just now", text)) for level, text in texts]


def seen(**ago: timedelta) -> None:
    heartbeat.record_beat()
    heartbeat.record_worker()
    OntraportService.objects.update(**{name: timezone.now() - age for name, age in ago.items()})


def test_after_one_run_by_hand_nobody_claims_that_beat_or_a_worker_ran() -> None:
    assert Run("refresh", "--all").status == 0
    assert told() == [("ok", "refreshed from the command line, just now; beat: never seen; worker: never seen")]
    numbers = Run("check", "--offline", "--json").data["numbers"]
    assert (numbers["beat_age_seconds"], numbers["worker_age_seconds"]) == (None, None)
    assert numbers["command_age_seconds"] < 60
    health = get("health")
    assert (health.status_code, health.json()["problems"], health.json()["warnings"]) == (200, [], [])
    assert health.json()["seconds"]["beat_age"] is None
    assert health.json()["seconds"]["command_age"] < 60
    text = get("metrics").content.decode()
    assert sample(text, "heartbeat_age_seconds", process="worker") == float("inf")
    assert (sample(text, "heartbeat_age_seconds", process="command") or 0) < 60
    assert sample(text, "task_delay_seconds") is None


def test_a_run_by_hand_does_not_hide_that_the_workers_have_stopped() -> None:
    seen(worker_at=timedelta(minutes=12))
    assert get("health").json()["problems"] == ["worker_silent"]
    Run("refresh", "--all")
    ((level, text),) = told()
    assert level == "warning"
    assert text.startswith("refreshed from the command line, just now; beat: seen just now; worker: last seen 20")
    health = get("health")
    assert (health.status_code, health.json()["warnings"]) == (200, ["worker_silent"])


def test_a_site_that_has_moved_to_cron_is_well() -> None:
    seen(beat_at=timedelta(days=2), worker_at=timedelta(days=2))
    Run("refresh", "--all")
    assert [level for level, _ in told()] == ["ok"]
    assert get("health").json()["warnings"] == []
    schedule = [each for each in Run("check", "--offline", "--json").data["findings"] if each["subject"] == "schedule"]
    assert [(each["level"], each["text"]) for each in schedule] == [
        ("ok", "not in the settings, and the command line does its work")
    ]


def test_workers_that_are_behind_are_a_warning_everywhere() -> None:
    seen()
    heartbeat.record_worker(heartbeat.database_time() - 725)
    assert told()[1] == ("warning", "worker: seen just now, but runs this app's tasks 12 minutes late")
    health = get("health")
    assert (health.status_code, health.json()["warnings"]) == (200, ["tasks_late"])
    assert 720 < health.json()["seconds"]["task_delay"] < 800
    assert (sample(get("metrics").content.decode(), "task_delay_seconds") or 0) > 720


SILENT = Signs(worker=Pulse(seen_at=timezone.now(), age=725.0))
ALIVE = Signs(worker=Pulse(seen_at=timezone.now(), age=25.0))


@pytest.mark.parametrize(
    ("state", "signs", "words"),
    [
        (QueueState(is_broker_there=False), SILENT, "the broker does not answer"),
        (QueueState(waiting=7), SILENT, "no worker answers, 7 tasks wait"),
        (QueueState(answering=3), SILENT, "3 workers answer, but none of them knows this app's tasks"),
        (QueueState(answering=1), SILENT, "1 worker answers, but it does not know this app's tasks"),
        (
            QueueState(answering=2, able=1, waiting=12),
            SILENT,
            "2 workers answer, but have not got to this app's tasks for 12 minutes: their queue is full (12 tasks wait)",
        ),
        (
            QueueState(answering=1, able=1, waiting=1),
            Signs(),
            "1 worker answers, but has never got to this app's tasks: its queue is full (1 task waits)",
        ),
        (
            QueueState(answering=1, able=1),
            Signs(),
            "1 worker answers, 0 tasks wait: beat sends none, or this app's tasks fail",
        ),
        (
            QueueState(answering=1, able=1, waiting=11),
            SILENT,
            "1 worker answers, 11 tasks wait: beat sends none, or this app's tasks fail",
        ),
        (
            QueueState(answering=1, able=1, waiting=900),
            ALIVE,
            "1 worker answers, 900 tasks wait: beat sends none, or this app's tasks fail",
        ),
    ],
)
def test_what_workers_and_queue_say_is_explained(state: QueueState, signs: Signs, words: str) -> None:
    text, hint = background_jobs._explain(state, signs.worker)
    assert text == words
    assert hint


def test_the_queue_is_as_bad_as_what_is_silent() -> None:
    seen(worker_at=timedelta(minutes=12))
    found = list(background_jobs.check_heartbeat(QueueState))
    assert [(each.level.value, each.text.partition(":")[0]) for each in found] == [
        ("ok", "beat"),
        ("error", "worker"),
        ("error", "queue"),
    ]
