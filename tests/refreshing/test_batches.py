"""Many accounts at once: oldest first, each on its own, and nothing lost when a batch is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.refreshing import RATE_LIMITED, batches, circuit_breaker, due_accounts
from ontraport_connect.refreshing.outcomes import Outcome
from tests.refreshing.test_circuit_breaker import let_time_pass
from tests.refreshing.test_one_account import in_thread
from tests.support import dialects
from tests.support.accounts import linked, read, token_of, user_named
from tests.support.servers import wait_until
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def many(count: int, **values: Any) -> list[int]:
    """Create accounts that are due, the oldest first."""
    now = timezone.now()
    return [
        linked(f"g{number}", refresh_at=now - timedelta(seconds=1000 - number), **values).pk for number in range(count)
    ]


def tokens(pks: list[int]) -> list[str]:
    return [OntraportAccount.objects.get(pk=pk).access_token.reveal() for pk in pks]


def test_what_is_due_is_found_oldest_first_in_pages_and_only_once() -> None:
    now = timezone.now()
    late = linked("late", refresh_at=now - timedelta(seconds=1)).pk
    same = [linked(f"s{number}", refresh_at=now - timedelta(seconds=60)).pk for number in range(5)]
    linked("not yet", refresh_at=now + timedelta(seconds=60))
    never = linked("never")
    OntraportAccount.objects.filter(pk=never.pk).update(refresh_at=None)
    linked("gone", status=Status.NEEDS_RECONNECT)
    linked("key", method=Method.API_KEY)
    leaver = user_named("leaver")
    leaver.is_active = False
    leaver.save()
    linked("inactive", user=leaver)
    tenants = linked("tenant", user=leaver, tenant="acme", refresh_at=now - timedelta(seconds=90)).pk
    assert list(due_accounts.due_batches(100, 2)) == [[tenants, same[0]], same[1:3], same[3:5], [late]]
    assert list(due_accounts.due_batches(3, 2)) == [[tenants, same[0]], [same[1]]]
    assert list(due_accounts.due_batches(0)) == []


def test_a_batch_refreshes_what_is_due_still_at_bounded_concurrency(strict: StrictServer) -> None:
    strict.behave(delay=0.2)
    pks = many(12)
    done = linked("done", refresh_at=timezone.now() + timedelta(hours=1)).pk
    with override_settings(ONTRAPORT_REFRESH_CONCURRENCY=4):
        assert batches.refresh_batch([*pks, done, 10**6]) == {"refreshed": 12}
    assert strict.endpoint.most_at_once == 4
    assert (strict.requests, strict.dead) == (12, [])
    assert tokens(pks) == [f"a.g{number}.1" for number in range(12)]
    assert batches.refresh_batch(pks) == {}


def test_a_batch_of_nothing_is_nothing() -> None:
    assert batches.refresh_batch([]) == {}


def test_a_refreshed_account_costs_at_most_two_statements(strict: StrictServer) -> None:
    pks = many(64)
    with CaptureQueriesContext(connection) as captured:
        assert batches.refresh_batch(pks) == {"refreshed": 64}
    assert len(captured) / 64 <= 2.1


@pytest.mark.server_database
def test_no_transaction_is_open_while_a_batch_waits(strict: StrictServer) -> None:
    strict.behave(hold="before")
    pks = many(5)
    with in_thread(lambda: batches.refresh_batch(pks)) as refreshed:
        strict.wait_for_held(5)
        assert dialects.others()
        assert dialects.transactions_of_others() == 0
        strict.release()
        assert refreshed.result(10) == {"refreshed": 5}


def test_one_that_hangs_one_that_is_unreadable_and_one_that_is_gone_hold_up_no_other(strict: StrictServer) -> None:
    pks = many(20)
    OntraportAccount.objects.filter(pk=pks[1]).update(
        uid="00000000-0000-4000-8000-000000000000"
    )  # secrets of another row
    strict.behave("g0", hold="before")
    strict.behave("g2", status=400, members={"error": "invalid_grant"})
    strict.behave("g3", status=500)
    with (
        override_settings(ONTRAPORT_REFRESH_CONCURRENCY=4),
        in_thread(lambda: batches.refresh_batch(pks)) as refreshed,
    ):
        strict.wait_for_held()
        wait_until(lambda: tokens(pks[4:]) == [f"a.g{number}.1" for number in range(4, 20)], "the others")
        assert not refreshed.done()
        strict.release()
        assert refreshed.result(10) == {"refreshed": 17, "secret_unreadable": 1, "invalid_grant": 1, "http_500": 1}
    assert strict.dead == []
    assert read(OntraportAccount(pk=pks[1])).status == Status.CONNECTED


@pytest.mark.server_database
def test_a_row_that_another_transaction_holds_is_passed_over(strict: StrictServer) -> None:
    pks = many(3)
    locked, done = threading.Event(), threading.Event()

    def hold_row() -> None:
        with transaction.atomic():
            OntraportAccount.objects.select_for_update().get(pk=pks[0])
            locked.set()
            assert done.wait(20)

    with in_thread(hold_row):
        assert locked.wait(10)
        assert batches.refresh_batch(pks) == {"refreshed": 2}
        done.set()
    assert batches.refresh_batch(pks) == {"refreshed": 1}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 401, "members": {"error": "invalid_client"}}, "invalid_client"),
        ({"status": 400, "members": {"error": "invalid_client"}}, "invalid_client"),
    ],
)
def test_an_answer_that_concerns_all_stops_the_batch_and_gives_the_rest_back(
    strict: StrictServer, answer: dict[str, Any], code: str
) -> None:
    strict.behave(**answer, delay=0.2)
    strict.behave("g1", delay=0.4)
    pks = many(10)
    with override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2):
        assert batches.refresh_batch(pks) == {code: 1, "refreshed": 1}
        assert strict.requests == 2
        assert batches.refresh_batch(pks) == {code: 10}
    rows = OntraportAccount.objects.all()
    assert {(row.lease_until, row.failures, row.last_error) for row in rows} == {(None, 0, "")}


def test_when_several_accounts_are_told_to_slow_down_the_batch_stops_and_gives_the_rest_back(
    strict: StrictServer,
) -> None:
    strict.behave(status=429, headers={"Retry-After": "30"}, delay=0.05)
    pks = many(20)
    with override_settings(ONTRAPORT_REFRESH_CONCURRENCY=1):
        counts = batches.refresh_batch(pks)
        assert counts.keys() == {"rate_limited"}
        assert 3 <= strict.requests == counts["rate_limited"] <= 5
        assert batches.refresh_batch(pks) == {"rate_limited": 20}
    told = OntraportAccount.objects.exclude(failures=0)
    assert {row.last_error for row in told} == {"rate_limited"}
    assert (told.count(), OntraportAccount.objects.exclude(lease_until=None).count()) == (strict.requests, 0)


def test_one_account_that_is_told_to_slow_down_for_an_hour_stops_no_other(strict: StrictServer) -> None:
    strict.behave("g0", status=429, headers={"Retry-After": "3600"})
    pks = many(30)
    for _ in range(3):
        batches.refresh_batch(pks)
        assert circuit_breaker.may_refresh()
        OntraportAccount.objects.filter(pk=pks[0]).update(refresh_at=timezone.now() - timedelta(days=1))
    assert tokens(pks[1:]) == [f"a.g{number}.1" for number in range(1, 30)]
    assert strict.dead == []


def test_a_batch_probes_with_one_request_and_goes_on_when_that_succeeds(strict: StrictServer) -> None:
    pks = many(6)
    circuit_breaker.hold(OntraportMisconfigured("Ontraport refuses this site.", code="invalid_client"))
    let_time_pass()
    strict.behave(status=401, members={"error": "invalid_client"})
    assert batches.refresh_batch(pks) == {"invalid_client": 1}
    let_time_pass()
    strict.behave()
    assert batches.refresh_batch(pks) == {"refreshed": 6}
    assert circuit_breaker.site_standing().hold_code == ""
    assert strict.requests == 7


def test_a_probe_that_finds_nothing_due_leaves_the_hold(strict: StrictServer) -> None:
    circuit_breaker.hold(OntraportMisconfigured("Ontraport refuses this site.", code="invalid_client"))
    let_time_pass()
    pk = linked("one", refresh_at=timezone.now() + timedelta(hours=1)).pk
    assert batches.refresh_batch([pk]) == {}
    assert circuit_breaker.site_standing().hold_code == "invalid_client"


def test_in_a_callers_transaction_a_batch_goes_one_by_one(strict: StrictServer) -> None:
    strict.behave("g1", status=500)
    pks = many(3)
    with transaction.atomic():
        assert batches.refresh_batch(pks) == {"refreshed": 2, "http_500": 1}
    assert tokens(pks) == ["a.g0.1", "a.g1.0", "a.g2.1"]


def test_in_a_callers_transaction_too_an_answer_that_concerns_all_stops_the_batch(strict: StrictServer) -> None:
    strict.behave(status=429)
    pks = many(5)
    with transaction.atomic():
        assert batches.refresh_batch(pks) == {"rate_limited": 3}
    assert strict.requests == 3


@pytest.mark.django_db(transaction=False)
def test_a_batch_works_in_a_test_case_of_an_adopter(strict: StrictServer) -> None:
    pks = many(3)
    assert batches.refresh_batch(pks) == {"refreshed": 3}
    assert tokens(pks) == ["a.g0.1", "a.g1.1", "a.g2.1"]


def test_a_batch_that_takes_long_leaves_the_rest_due(strict: StrictServer) -> None:
    pks, seconds = many(6), 3.0
    strict.behave(hold="after")
    with (
        override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2),
        in_thread(lambda: batches.refresh_batch(pks, seconds=seconds)) as batch,
    ):
        strict.wait_for_held(2)
        time.sleep(seconds)
        strict.release()
        assert batch.result(20) == {"refreshed": 2}
    assert list(due_accounts.due_batches(10)) == [pks[2:]]
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()


class Told(BaseException):
    """Raised by a signal handler in the middle of a batch, as Celery and billiard do to end a worker."""


def test_a_worker_that_is_told_to_stop_saves_what_it_has_asked_for_and_gives_back_the_rest(
    strict: StrictServer,
) -> None:
    strict.behave(hold="after")
    strict.behave("g0", delay=0)
    pks, main = many(6), threading.get_ident()

    def raise_told(*event: object) -> None:
        raise Told

    def waits() -> bool:
        return sys._current_frames()[main].f_code.co_name == "ended"

    def tell() -> None:
        strict.wait_for_held(2)
        wait_until(
            waits, "the batch to wait"
        )  # inside of a statement, SQLite makes an error of its own of the interruption
        os.kill(os.getpid(), signal.SIGALRM)
        leased = OntraportAccount.objects.exclude(lease_until=None)
        wait_until(lambda: leased.count() == 2, "what was not sent to be given back")
        strict.release()

    before = signal.signal(signal.SIGALRM, raise_told)
    try:
        with override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2), in_thread(tell), pytest.raises(Told):
            batches.refresh_batch(pks)
    finally:
        signal.signal(signal.SIGALRM, before)
    refreshed = [token for token in tokens(pks) if token.endswith(".1")]
    assert len(refreshed) == strict.requests == 3
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()


def is_claim(sql: str) -> bool:
    sets = sql.split("WHERE", maxsplit=1)[0]
    return sets.startswith("UPDATE") and "lease_owner" in sets and "refreshed_at" not in sets


def test_two_rounds_of_calls_are_claimed_at_once(strict: StrictServer) -> None:
    pks = many(8)
    with override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2), CaptureQueriesContext(connection) as queries:
        assert batches.refresh_batch(pks) == {"refreshed": 8}
    assert sum(is_claim(query["sql"]) for query in queries) == 2


def test_answers_that_wait_are_saved_before_anything_else_is_claimed(strict: StrictServer) -> None:
    pks = many(2)
    batch = batches._Batch(pks, is_probe=False, seconds=60)
    ended: Future[Outcome | None] = Future()
    batch.done.put(ended)
    assert batch.next_lease() is None
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()
    batch.done.get()
    leases = [batch.next_lease(), batch.next_lease()]
    assert [lease.account.pk for lease in leases if lease is not None] == pks
    assert batch.next_lease() is None


def test_a_database_that_goes_away_in_the_middle_loses_no_answer(strict: StrictServer) -> None:
    pks = many(12)
    claims = iter(range(2))

    def fail_second_claim(execute: Any, sql: str, *args: Any) -> Any:
        if is_claim(sql) and next(claims, None) is None:
            raise OperationalError("terminating connection due to administrator command")
        return execute(sql, *args)

    with (
        override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2),
        connection.execute_wrapper(fail_second_claim),
        pytest.raises(OperationalError),
    ):
        batches.refresh_batch(pks)
    assert sum(token.endswith(".1") for token in tokens(pks)) == strict.requests >= 2
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()


def test_an_answer_that_cannot_be_saved_does_not_keep_the_others_from_it(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is saved itself, too, on another connection."""
    pks = many(4)
    first = iter([True, True, True])

    def fail_thrice(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "refreshed_at" in sql and next(first, False):
            raise ValueError("a driver's fault")
        return execute(sql, *args)

    with connection.execute_wrapper(fail_thrice):
        assert batches.refresh_batch(pks) == {"refreshed": 4}
    assert sum(token.endswith(".1") for token in tokens(pks)) == 4
    assert "could not be saved" in caplog.text
    assert "a.g" not in caplog.text


def test_while_the_site_is_held_a_batch_sends_nothing_and_says_why(strict: StrictServer) -> None:
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=60.0))
    pks = many(2)
    assert batches.refresh_batch(pks) == {"rate_limited": 2}
    assert (strict.requests, OntraportEvent.objects.count(), token_of(read(OntraportAccount(pk=pks[0])))) == (
        0,
        0,
        "a.g0.0",
    )
