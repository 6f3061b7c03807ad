"""Many links at once, some of them in trouble, or all of them after an outage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from django.db import transaction
from django.db.models import F
from django.test import override_settings

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import batches, due_accounts
from tests.doors.test_tasks import batches_of
from tests.refreshing.test_batches import many
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def celery() -> Iterator[Celery]:
    """A Celery app with a broker in memory, whose messages can be read."""
    app = Celery("fleet", broker="memory://", set_as_current=True)
    yield app
    app.control.purge()
    app.close()


def test_one_undecryptable_and_one_hanging_account_among_a_thousand_hold_up_no_other(strict: StrictServer) -> None:
    with transaction.atomic():
        pks = many(1000)
    OntraportAccount.objects.filter(pk=pks[3]).update(uid=uuid4())  # secrets of another row
    strict.behave("g5", hold="before")
    counts: Counter[str] = Counter()
    with override_settings(ONTRAPORT_TIMEOUT=(1, 1)):
        for batch in list(due_accounts.due_batches(1000)):
            counts.update(batches.refresh_batch(batch))
    assert counts == {"refreshed": 998, "secret_unreadable": 1, "timeout": 1}
    left = OntraportAccount.objects.filter(version=0)
    assert sorted(left.values_list("pk", "status", "failures")) == [(pks[3], "connected", 1), (pks[5], "connected", 1)]
    assert strict.dead == []
    assert strict.requests == 999


def test_after_an_outage_with_everything_expired_it_goes_oldest_first_spread_out_and_under_the_rate(
    strict: StrictServer, celery: Celery
) -> None:
    with transaction.atomic():
        pks = many(45, expires_in=-3600)
    strict.behave(status=503)
    assert batches.refresh_batch(pks) == {"http_503": 45}
    strict.behave()
    waiting = OntraportAccount.objects.order_by("refresh_at", "pk")
    assert waiting.filter(status=Status.CONNECTED, failures=1).count() == 45
    waiting.update(refresh_at=F("refresh_at") - timedelta(days=1))
    oldest_first = list(waiting.values_list("pk", flat=True))
    rate, handed_out = 0.5, []
    with override_settings(ONTRAPORT_REFRESH_RATE=rate):
        for count in (30, 15, 0):
            assert tasks.refresh_expiring_tokens() == count
            minute = batches_of(celery)
            for number, (batch, wait) in enumerate(minute):
                assert number / rate - 5 < wait <= number / rate
                handed_out += batch
                assert tasks.refresh_accounts(batch) == {"refreshed": len(batch)}
    assert handed_out == oldest_first
    assert strict.dead == []
    due: list[Any] = list(OntraportAccount.objects.filter(failures=0).values_list("refresh_at", flat=True))
    assert len(due) == 45
    assert max(due) - min(due) > timedelta(seconds=60)
