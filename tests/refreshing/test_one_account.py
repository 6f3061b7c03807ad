"""A refresh token is spent once, whoever asks, and what came for it stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import linking
from ontraport_connect.exceptions import (
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
    SecretUnreadable,
)
from ontraport_connect.models import Method, Now, OntraportAccount, OntraportRevocation, OntraportService, Status
from ontraport_connect.refreshing import (
    RATE_LIMITED,
    client_settings,
    leases,
    one_account,
    outcomes,
    spending,
)
from tests.support import dialects
from tests.support.accounts import linked, read, token_of, user_named
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["a-key-of-the-tests-that-is-long-enough-1", "a-key-of-the-tests-that-is-long-enough-2"]


@contextmanager
def in_thread(step: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Run ``step`` meanwhile, on a connection of its own."""

    def run() -> Any:
        try:
            return step()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(run)


class Undone(Exception):
    """Rolls a transaction back."""


@contextmanager
def rolled_back() -> Iterator[None]:
    with suppress(Undone), transaction.atomic():
        yield
        raise Undone


def hold_lease(account: OntraportAccount, seconds: float) -> None:
    """What a process leaves that was killed after its claim, or is at work still."""
    OntraportAccount.objects.filter(pk=account.pk).update(
        lease_owner="another", lease_until=Now() + timedelta(seconds=seconds)
    )


def test_a_refresh_leaves_the_account_with_the_current_tokens(strict: StrictServer) -> None:
    account = linked("one")
    one_account.refresh(account)
    assert account.access_token.reveal() == "a.one.1"
    assert (token_of(account), account.version, account.lease_until) == ("a.one.1", 1, None)
    assert account.is_valid_for(3500)
    assert 0 < (account.expires_at - account.refresh_at).total_seconds() < 2200


def test_who_read_the_account_before_somebody_elses_refresh_gets_its_tokens_and_spends_nothing(
    strict: StrictServer,
) -> None:
    account, copy = linked("one"), OntraportAccount.objects.get()
    one_account.refresh(account)
    one_account.refresh(copy)
    assert copy.access_token.reveal() == "a.one.1"
    assert strict.requests == 1


def test_a_token_that_is_valid_for_the_leeway_costs_neither_a_query_nor_a_call(
    strict: StrictServer, django_assert_num_queries: Any
) -> None:
    account = linked("one", expires_in=61)
    with django_assert_num_queries(0):
        one_account.ensure_fresh(account)
    account = linked("two", expires_in=59)
    one_account.ensure_fresh(account)
    assert (strict.requests, token_of(account)) == (1, "a.two.1")


def test_a_machine_whose_clock_is_a_day_ahead_believes_the_database(strict: StrictServer) -> None:
    account = linked("one", expires_in=3600)
    account.expires_at -= timedelta(days=1)  # so it looks from there
    one_account.ensure_fresh(account)
    assert strict.requests == 0
    assert account.is_valid_for(3500)


def test_an_account_that_backs_off_is_left_alone_until_its_turn(strict: StrictServer) -> None:
    turn = timezone.now() + timedelta(seconds=200)
    account = linked("one", failures=1, last_error="http_500", refresh_at=turn)
    with pytest.raises(OntraportUnavailable) as raised:
        one_account.ensure_fresh(account)
    assert raised.value.code == "http_500"
    assert 190 < (raised.value.retry_after or 0) <= 200
    assert strict.requests == 0
    OntraportAccount.objects.update(refresh_at=timezone.now() - timedelta(seconds=1))
    one_account.ensure_fresh(account)
    assert token_of(account) == "a.one.1"


def test_a_token_that_is_about_to_end_serves_while_no_new_one_can_be_had(strict: StrictServer) -> None:
    strict.behave(status=500)
    account = linked("one", expires_in=30)
    one_account.ensure_fresh(account)
    assert strict.requests == 1
    assert read(account).failures == 1
    with pytest.raises(OntraportUnavailable):
        one_account.refresh(account)


def test_a_grant_that_is_gone_marks_the_account_at_once_and_nobody_asks_again(strict: StrictServer) -> None:
    strict.behave(status=400, members={"error": "invalid_grant"})
    account, copy = linked("one"), OntraportAccount.objects.get()
    with pytest.raises(ReconnectRequired, match="grant"):
        one_account.refresh(account)
    assert (account.status, account.last_error) == (Status.NEEDS_RECONNECT, "invalid_grant")
    for again in (account, copy):
        with pytest.raises(ReconnectRequired):
            one_account.refresh(again)
    with pytest.raises(ReconnectRequired):
        one_account.ensure_fresh(account)
    assert strict.requests == 1


def test_a_link_without_a_refresh_token_ends_with_its_access_token(strict: StrictServer) -> None:
    account = linked("one", refresh_token=None)
    with pytest.raises(ReconnectRequired) as raised:
        one_account.ensure_fresh(account)
    assert raised.value.code == "no_refresh_token"
    assert strict.requests == 0


def test_an_api_key_is_never_refreshed(strict: StrictServer) -> None:
    account = linked("one", method=Method.API_KEY, refresh_token=None, expires_at=None)
    one_account.refresh(account)
    one_account.ensure_fresh(account)
    assert strict.requests == 0


def test_the_account_of_a_person_who_was_deactivated_is_not_refreshed(strict: StrictServer) -> None:
    account = linked("one")
    account.user.is_active = False
    account.user.save()
    with pytest.raises(OntraportRejected, match="not active"):
        one_account.refresh(account)
    tenants = linked("two", user=account.user, tenant="acme")
    one_account.refresh(tenants)
    assert (strict.requests, token_of(tenants)) == (1, "a.two.1")


def test_two_at_once_spend_one_token_and_both_get_the_new_one(strict: StrictServer) -> None:
    strict.behave(hold="before")
    winner, waiter = linked("one"), OntraportAccount.objects.get()
    with (
        in_thread(lambda: one_account.refresh(winner)) as won,
        in_thread(lambda: one_account.refresh(waiter)) as waited,
    ):
        strict.wait_for_held()
        strict.release()
        won.result(10)
        waited.result(10)
    assert strict.requests == 1
    assert winner.access_token.reveal() == waiter.access_token.reveal() == "a.one.1"


def test_who_waits_long_takes_a_token_that_is_valid_still(strict: StrictServer) -> None:
    account = linked("one", expires_in=30)
    hold_lease(account, 60)
    started = time.monotonic()
    one_account.ensure_fresh(account)
    assert time.monotonic() - started < 5
    assert strict.requests == 0
    assert account.lease_owner == "another"


def test_who_waits_in_vain_is_told_to_come_back(strict: StrictServer) -> None:
    account = linked("one")
    hold_lease(account, 60)
    with override_settings(ONTRAPORT_TIMEOUT=(0.05, 0.05)), pytest.raises(OntraportUnavailable) as raised:
        one_account.ensure_fresh(account)
    assert (raised.value.code, raised.value.retry_after) == ("busy", 5.0)


def test_a_lease_that_has_ended_is_taken_over(strict: StrictServer) -> None:
    account = linked("one")
    hold_lease(account, -1)
    one_account.refresh(account)
    assert token_of(account) == "a.one.1"


def test_of_two_who_saw_the_row_free_one_gets_the_lease(strict: StrictServer) -> None:
    account = linked("one")
    first = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    second = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    assert (len(first), len(second)) == (1, 0)


def test_a_process_that_was_stopped_after_its_claim_sends_nothing(strict: StrictServer) -> None:
    account = linked("one")
    [lease] = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    stopped = replace(lease, claimed_at=lease.claimed_at - leases.SEND_WITHIN - 1)
    with client_settings.new_transport() as transport:
        outcome = spending.call(stopped, transport)
    outcomes.settle(stopped, outcome)
    assert strict.requests == 0
    current = read(account)
    assert (current.lease_until, current.failures, current.status) == (None, 0, Status.CONNECTED)


def test_a_lease_outlives_the_latest_answer_by_the_time_to_save_it(strict: StrictServer) -> None:
    account = linked("one")
    leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    row: Any = OntraportAccount.objects.annotate(now=Now()).get()
    lasts = (row.lease_until - row.now).total_seconds()
    assert lasts - leases.SEND_WITHIN - leases.longest_call() > 25


def test_a_token_that_cannot_be_decrypted_is_not_sent_and_serves_again_once_its_key_is_back(
    strict: StrictServer,
) -> None:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS[:1]):
        account = linked("one")
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS[1:]), pytest.raises(SecretUnreadable):
        one_account.ensure_fresh(account)
    assert strict.requests == 0
    assert (read(account).status, read(account).last_error) == (Status.CONNECTED, "secret_unreadable")
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS):
        one_account.ensure_fresh(account)
        assert token_of(account) == "a.one.1"


def test_nothing_is_spent_when_what_comes_could_not_be_encrypted(strict: StrictServer) -> None:
    account = linked("one")
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=["short"]), pytest.raises(OntraportMisconfigured):
        one_account.refresh(account)
    assert strict.requests == 0
    assert read(account).failures == 0


def test_disconnected_during_the_refresh_the_new_grant_is_revoked(strict: StrictServer) -> None:
    strict.behave(hold="after")
    account = linked("one")
    with in_thread(lambda: one_account.refresh(account)) as refreshed:
        strict.wait_for_held()
        linking.unlink(read(account))
        strict.release()
        with pytest.raises(ReconnectRequired, match="disconnected"):
            refreshed.result(10)
    assert strict.dead == ["one"]
    assert not OntraportAccount.objects.exists()


def test_its_user_deleted_during_the_refresh_the_new_grant_is_revoked(strict: StrictServer) -> None:
    strict.behave(hold="after")
    account = linked("one")
    with in_thread(lambda: one_account.refresh(account)) as refreshed:
        strict.wait_for_held()
        user_named("maya").delete()
        strict.release()
        with pytest.raises(ReconnectRequired, match="disconnected"):
            refreshed.result(10)
    assert strict.dead == ["one"]


def relink(account: OntraportAccount, grant: str) -> None:
    current = read(account)
    current.access_token, current.refresh_token = f"a.{grant}.0", f"r.{grant}.0"
    current.linked_at = timezone.now()
    current.expires_at = timezone.now() + timedelta(hours=1)
    current.save()


@pytest.mark.parametrize("answer", ["tokens", "invalid_grant"])
def test_relinked_during_the_refresh_the_new_link_stays_and_nothing_is_revoked_that_it_may_share(
    strict: StrictServer, answer: str
) -> None:
    strict.behave(hold="after")
    account = linked("old")
    strict.run(lambda: setattr(strict.endpoint.grant("old"), "alive", answer == "tokens"))
    with in_thread(lambda: one_account.refresh(account)) as refreshed:
        strict.wait_for_held()
        relink(account, "new")
        strict.release()
        refreshed.result(10)
    assert account.access_token.reveal() == "a.new.0"
    assert read(account).status == Status.CONNECTED
    assert strict.dead == ([] if answer == "tokens" else ["old"])
    assert not OntraportRevocation.objects.exists()


def test_an_account_that_is_gone_needs_to_be_reconnected(strict: StrictServer) -> None:
    account = linked("one")
    OntraportAccount.objects.all().delete()
    with pytest.raises(ReconnectRequired, match="disconnected"):
        one_account.refresh(account)


@pytest.mark.server_database
def test_an_account_that_another_transaction_holds_is_not_waited_for_without_end(strict: StrictServer) -> None:
    account = linked("one")
    locked, done = threading.Event(), threading.Event()

    def hold_row() -> None:
        with transaction.atomic():
            OntraportAccount.objects.select_for_update().get()
            locked.set()
            assert done.wait(20)

    with in_thread(hold_row):
        assert locked.wait(10)
        with override_settings(ONTRAPORT_TIMEOUT=(0.05, 0.05)):
            with pytest.raises(OntraportUnavailable, match="Another process"):
                one_account.refresh(account)
            with transaction.atomic(), pytest.raises(OntraportUnavailable):
                one_account.refresh(account)
        done.set()
    assert strict.requests == 0
    one_account.refresh(account)
    assert token_of(account) == "a.one.1"


@pytest.mark.server_database
def test_no_transaction_is_open_while_ontraport_is_asked(strict: StrictServer) -> None:
    strict.behave(hold="before")
    account = linked("one")
    with in_thread(lambda: one_account.refresh(account)) as refreshed:
        strict.wait_for_held()
        assert dialects.others()
        assert dialects.transactions_of_others() == 0
        strict.release()
        refreshed.result(10)


def test_while_ontraport_asks_to_slow_down_nothing_is_sent(strict: StrictServer) -> None:
    OntraportService.objects.create(pk=1, hold_code=RATE_LIMITED, held_until=timezone.now() + timedelta(seconds=50))
    with pytest.raises(OntraportUnavailable) as raised:
        one_account.refresh(linked("one"))
    assert 45 < (raised.value.retry_after or 0) <= 50
    assert strict.requests == 0


def test_a_database_that_is_away_is_a_reason_to_come_back_later(strict: StrictServer) -> None:
    account = linked("one")

    def fail(*args: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    with connection.execute_wrapper(fail), pytest.raises(OntraportUnavailable) as raised:
        one_account.refresh(account)
    assert raised.value.code == "database"
    with transaction.atomic():
        fresh = linked("two")
        with connection.execute_wrapper(fail), pytest.raises(OntraportUnavailable):
            one_account.refresh(fresh)
    assert strict.requests == 0
