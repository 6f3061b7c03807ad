"""A link that nobody uses stays alive."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from datetime import timedelta

import pytest
from celery import Celery
from django.db.models import F
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount, refresh_delay
from ontraport_connect.protocol.oauth_responses import LONGEST_LIFETIME
from ontraport_connect.refreshing import one_account
from ontraport_connect.refreshing.grants import EARLIEST
from ontraport_connect.schedule import INTERVAL
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, DAY = 3600.0, 86400.0
LIFETIME = float(os.environ.get("ENDURANCE_LIFETIME", DAY))
"""Lifetime of an access token in seconds. With tokens of an hour, ninety days take minutes."""


@pytest.fixture(autouse=True)
def app() -> Iterator[Celery]:
    """A Celery app that runs tasks at once."""
    app = Celery("tests", set_as_current=True)
    app.conf.task_always_eager = True
    yield app
    app.close()


def let_time_pass(strict: StrictServer, seconds: float) -> None:
    """Move the times in the row into the past, and Ontraport's clock ahead."""
    times = ("linked_at", "refreshed_at", "refresh_at", "expires_at")
    OntraportAccount.objects.update(**{name: F(name) - timedelta(seconds=seconds) for name in times})
    strict.run(lambda: setattr(strict.endpoint, "ahead", strict.endpoint.ahead + seconds))


@pytest.mark.parametrize(
    ("lifetime", "longest_unused", "interval"),
    [(LIFETIME, LIFETIME, INTERVAL), (60 * DAY, 20 * DAY, INTERVAL), (HOUR, 1.1 * DAY, DAY)],
    ids=["a day", "sixty days, cut to thirty", "an hour, on a machine that wakes once a day"],
)
def test_an_account_never_used_still_works_after_ninety_days(
    strict: StrictServer, lifetime: float, longest_unused: float, interval: float
) -> None:
    """Access tokens have this lifetime, and refresh tokens expire when unused for ``longest_unused``. Between two refreshes the clock jumps
    to the next run of beat's task.
    """
    strict.run(lambda: vars(strict.endpoint).update(lifetime=lifetime, longest_unused=longest_unused))
    account, passed = linked("one"), 0.0
    while passed < 90 * DAY:
        assert tasks.refresh_expiring_tokens() == 1
        due_in = (read(account).refresh_at - timezone.now()).total_seconds()
        pause = max(1, math.ceil(due_in / interval)) * interval
        let_time_pass(strict, pause)
        passed += pause
    delay = refresh_delay(min(lifetime, LONGEST_LIFETIME))
    fewest, most = 90 * DAY / (delay + interval), 90 * DAY / max(delay * EARLIEST, interval)
    assert fewest <= strict.requests <= most + 1
    assert strict.dead == []
    assert read(account).is_valid_for(0) == (interval == INTERVAL)
    one_account.refresh(account := read(account))
    assert account.access_token.reveal() == token_of(account) == f"a.one.{strict.requests}"
    assert strict.dead == []
