"""A row that somebody holds (an idle ``psql``, a slow page) is left to the next run of a job in the background; all others are done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import linking, tasks
from ontraport_connect.models import OntraportAccount, OntraportAttempt, OntraportBudget, OntraportEvent, Status
from ontraport_connect.refreshing import recovery
from ontraport_connect.staff import bulk_operations, notices, retention, tallies
from ontraport_connect.using import delete_idle_budgets
from tests.linking.test_key_checks import Rest, make_due
from tests.refreshing.test_takeover import ROW, locked
from tests.staff.test_retention import ages, called, events
from tests.support.accounts import linked
from tests.support.answering import Answering, Asked, Reply, envelope
from tests.support.linked import key_account, person
from tests.support.strict_server import StrictServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.server_database]

EVENT = "SELECT 1 FROM ontraport_connect_ontraportevent WHERE id = %s FOR UPDATE"
ATTEMPT = "SELECT 1 FROM ontraport_connect_ontraportattempt WHERE browser = %s FOR UPDATE"


def budget() -> str:
    return f"SELECT 1 FROM ontraport_connect_ontraportbudget WHERE {connection.ops.quote_name('key')} = %s FOR UPDATE"  # noqa: S608


@pytest.fixture
def rest() -> Iterator[Rest]:
    """A REST API that accepts every key pair."""
    with Rest() as server, override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"):
        server.is_refusing = False
        yield server


def test_a_key_pair_whose_row_is_held_is_checked_in_the_next_run(rest: Rest) -> None:
    held, other = (key_account(person(name)) for name in ("maya", "tomas"))
    for account in (held, other):
        make_due(account)
    with locked(ROW, held.pk):
        assert tasks.check_keys() == {"accepted": 1}
        assert tasks.check_keys() == {}
    assert tasks.check_keys() == {"accepted": 1}


def test_the_check_of_a_key_pair_whose_row_is_held_meanwhile_holds_up_no_other() -> None:
    held, other = (key_account(person(name)) for name in ("maya", "tomas"))
    for account in (held, other):
        make_due(account)
    with ExitStack() as until_the_end:

        def answer(asked: Asked) -> Reply:
            if not asked_before:
                until_the_end.enter_context(locked(ROW, held.pk))
            asked_before.append(asked)
            return envelope({})

        asked_before: list[Asked] = []
        with Answering(answer) as server, override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"):
            assert tasks.check_keys() == {"locked": 1, "accepted": 1}


def test_old_events_that_nobody_holds_are_deleted() -> None:
    events(1000.5, 1001.5, 1002.5)
    held = OntraportEvent.objects.order_by("at")[1]
    with locked(EVENT, held.pk):
        retention.delete_old_rows()
        assert ages() == [1001]
    retention.delete_old_rows()
    assert ages() == []


def test_old_attempts_that_nobody_holds_are_forgotten() -> None:
    long_ago = timezone.now() - timedelta(days=1)
    for browser in ("held", "other"):
        OntraportAttempt.objects.create(digest=browser, browser=browser, person="", values="", started_at=long_ago)
    with locked(ATTEMPT, "held"):
        linking.forget_old_attempts()
        assert list(OntraportAttempt.objects.values_list("browser", flat=True)) == ["held"]
    linking.forget_old_attempts()
    assert not OntraportAttempt.objects.exists()


def test_idle_rows_of_the_rate_limiter_that_nobody_holds_are_deleted() -> None:
    for key in ("held", "other"):
        called(key, timedelta(days=2))
    with locked(budget(), "held"):
        delete_idle_budgets(10)
        assert list(OntraportBudget.objects.values_list("key", flat=True)) == ["held"]
    delete_idle_budgets(10)
    assert not OntraportBudget.objects.exists()


def test_a_batch_whose_count_cannot_be_written_is_not_counted() -> None:
    tallies.count_refreshes({"refreshed": 1})
    with locked(budget(), tallies.KEY):
        tallies.count_refreshes({"refreshed": 1})
    assert sum(hour.refreshed for hour in tallies.last_hours()) == 1
    tallies.count_refreshes({"refreshed": 1})
    assert sum(hour.refreshed for hour in tallies.last_hours()) == 2


def test_accounts_that_nobody_holds_are_made_due(strict: StrictServer) -> None:
    held, other = linked("one"), linked("two")
    with locked(ROW, held.pk):
        assert bulk_operations.make_due([held.pk, other.pk]) == 1


def test_accounts_that_nobody_holds_are_reconsidered(strict: StrictServer) -> None:
    accounts = [linked("one"), linked("two")]
    OntraportAccount.objects.update(status=Status.NEEDS_RECONNECT, last_error="invalid_grant")
    with locked(ROW, accounts[0].pk):
        assert recovery.reconsider() == [accounts[1].pk]
    assert recovery.reconsider() == [accounts[0].pk]


def test_of_an_account_whose_row_is_held_nobody_is_told_yet() -> None:
    account = key_account(person("maya"), status=Status.NEEDS_RECONNECT)
    with locked(ROW, account.pk):
        assert not notices._claim(account)
    assert notices._claim(account)
