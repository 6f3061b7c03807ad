"""``ontraport check`` counts what is overdue and what has ended, against thresholds, and notices a missing beat entry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.models import Status
from ontraport_connect.refreshing import heartbeat
from ontraport_connect.schedule import BEAT_SCHEDULE
from tests.support.accounts import linked
from tests.support.command import Run
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def findings(subject: str, *options: str) -> list[tuple[str, str]]:
    found = Run("check", "--offline", "--json", *options).data["findings"]
    return [(each["level"], each["text"]) for each in found if each["subject"] == subject]


def numbers(*options: str) -> dict[str, float]:
    found: dict[str, float] = Run("check", "--offline", "--json", *options).data["numbers"]
    return found


def overdue(grant: str, **age: float) -> None:
    linked(grant, refresh_at=timezone.now() - timedelta(**age))


def test_the_thresholds_are_options(strict: StrictServer) -> None:
    overdue("one", seconds=150)
    overdue("two", seconds=70)
    assert findings("overdue", "--overdue", "3") == [("ok", "no account is overdue by more than 3 minutes")]
    text = "2 accounts are overdue by more than 1 minute, the oldest by 2 minutes"
    assert findings("overdue", "--overdue", "1") == [("warning", text)]
    assert findings("overdue", "--overdue", "1", "--long-overdue", "2") == [("error", text)]


def test_machines_get_numbers(strict: StrictServer) -> None:
    overdue("one", minutes=15)
    overdue("two", minutes=5)
    linked("gone", status=Status.NEEDS_RECONNECT)
    found = numbers()
    assert (found["overdue"], found["overdue_threshold_seconds"], found["needs_reconnect"]) == (1, 600, 1)
    assert 900 <= found["oldest_overdue_seconds"] < 1000
    assert numbers("--overdue", "1")["overdue"] == 2


def test_links_that_have_ended_are_counted_and_too_many_are_a_warning(strict: StrictServer) -> None:
    assert findings("reconnect") == [("ok", "no link needs a reconnect")]
    linked("one", status=Status.NEEDS_RECONNECT)
    assert findings("reconnect") == [("ok", "1 needs a reconnect")]
    linked("two", status=Status.NEEDS_RECONNECT)
    assert findings("reconnect", "--needs-reconnect", "2") == [("ok", "2 need a reconnect")]
    assert findings("reconnect", "--needs-reconnect", "1") == [("warning", "2 need a reconnect, more than 1")]


@pytest.mark.parametrize("number", ["-1", "ten", "1.5", "", "99999999"])
def test_a_threshold_that_is_no_number_is_wrong_usage(number: str) -> None:
    assert "is not a number" in Run("check", f"--overdue={number}").problem


ENTRY = {"any name": {"task": "ontraport_connect.tasks.refresh_expiring_tokens", "schedule": 60}}
OTHER = {"other": {"task": "shop.tasks.tidy", "schedule": 60}, "broken": None}


def test_a_missing_beat_entry_is_noticed_until_something_does_its_work(strict: StrictServer) -> None:
    ((level, text),) = findings("schedule")
    assert (level, "refresh_expiring_tokens" in text) == ("warning", True)
    heartbeat.record_beat()
    assert findings("schedule") == [("ok", "not in the settings, and something does its work")]
    with override_settings(CELERY_BEAT_SCHEDULE=ENTRY):
        assert findings("schedule") == [("ok", "the settings have it")]


@pytest.mark.parametrize(
    ("settings", "is_missing"),
    [
        ({}, False),
        ({"CELERY_BEAT_SCHEDULE": BEAT_SCHEDULE}, False),
        ({"SHOP_BEAT_SCHEDULE": {**OTHER, **ENTRY}}, False),
        ({"CELERY_BEAT_SCHEDULE": OTHER}, True),
        ({"BEAT_SCHEDULE": BEAT_SCHEDULE}, True),
        ({"BEAT_SCHEDULE": BEAT_SCHEDULE, "CELERY_BEAT_SCHEDULE": OTHER}, True),
        ({"CELERY_BEAT_SCHEDULE": {}}, True),
        ({"CELERY_BEAT_SCHEDULE": None}, True),
        ({"CELERY_BEAT_SCHEDULE": OTHER, "CELERY_BEAT_SCHEDULER": "django_celery_beat.schedulers:Any"}, False),
    ],
)
def test_a_schedule_without_our_entry_is_a_system_check(settings: dict[str, Any], is_missing: bool) -> None:
    with override_settings(**settings):
        ids = [message.id for message in run_checks()]
    assert ("ontraport_connect.W020" in ids) is is_missing


@pytest.mark.parametrize(
    ("token", "is_wrong"),
    [
        (None, False),
        ("", False),
        ("0123456789abcdef", False),
        ("short", True),
        ("with blanks in it, long", True),
        (7, True),
    ],
)
def test_a_token_that_is_easily_guessed_is_an_error(token: object, is_wrong: bool) -> None:
    with override_settings(ONTRAPORT_MONITORING_TOKEN=token):
        ids = [message.id for message in run_checks()]
    assert ("ontraport_connect.E031" in ids) is is_wrong


def test_a_setting_under_a_wrong_name_is_noticed() -> None:
    names = ("ONTRAPORT_MCP_TOOL", "ONTRAPORT_CLIENTID", "ONTRAPORT_OBJECT_ID_OF_MY_OWN", "SHOP_MCP_TOOLS")
    with override_settings(**dict.fromkeys(names, "x")):
        found = {message.msg: message.hint for message in run_checks() if message.id == "ontraport_connect.W022"}
    assert [text.split()[4] for text in found] == ["ONTRAPORT_CLIENTID,", "ONTRAPORT_MCP_TOOL,"]
    assert [str(hint).split("?", maxsplit=1)[0] for hint in found.values()] == [
        "Did you mean ONTRAPORT_CLIENT_ID",
        "Did you mean ONTRAPORT_MCP_TOOLS",
    ]
