"""Leases on tokens that were not sent are given back, whatever ends the batch that holds them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import override_settings

from ontraport_connect import database
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, leases, one_account, recovery
from tests.refreshing.test_one_account import in_thread, rolled_back
from tests.refreshing.test_rollbacks import change
from tests.refreshing.test_takeover import ROW, locked
from tests.support.accounts import linked, token_of
from tests.support.servers import wait_until
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


class Unruly(BaseException):
    """What gevent's timeout is, for one: no ``Exception``."""


def leased() -> int:
    return OntraportAccount.objects.exclude(lease_until=None).count()


def test_a_batch_that_is_interrupted_while_it_claims_gives_back_what_it_has_claimed(strict: StrictServer) -> None:
    pks = [linked(f"g{number}").pk for number in range(4)]
    is_first = iter([True])

    def interrupt(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("SELECT") and "has_spent_token" in sql and next(is_first, False):
            raise Unruly
        return execute(sql, *args)

    with connection.execute_wrapper(interrupt), pytest.raises(Unruly):
        batches.refresh_batch(pks)
    assert (next(is_first, None), leased(), strict.requests) == (None, 0, 0)


@pytest.mark.sqlite
@override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2)
def test_an_interruption_between_a_begin_and_djangos_note_of_it_loses_no_answer(strict: StrictServer) -> None:
    """What is saved afterwards is not saved in the transaction that was begun, and of which Django knows nothing."""
    pks = [linked(f"g{number}").pk for number in range(12)]
    is_first = iter([True])

    def interrupt(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if sql.startswith("BEGIN") and strict.requests and next(is_first, False):
            raise Unruly
        return result

    with connection.execute_wrapper(interrupt), pytest.raises(Unruly):
        batches.refresh_batch(pks)
    connection.close()
    saved = OntraportAccount.objects.filter(version=1)
    assert saved.count() == strict.requests > 0
    assert leased() == 0


@pytest.mark.server_database
@override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2)
def test_a_batch_that_is_over_gives_back_what_it_has_not_sent_although_calls_of_it_go_on(strict: StrictServer) -> None:
    pks = [linked(f"g{number}").pk for number in range(8)]
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch(pks, seconds=1)) as batch:
        strict.wait_for_held(2)
        wait_until(lambda: leased() == 2, "the leases to be given back")
        strict.release()
        assert batch.result(30) == {"refreshed": 2}
    assert (leased(), strict.requests) == (0, 2)


def test_what_is_noted_on_one_account_and_cannot_be_taken_over_holds_up_no_other(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = [linked(f"g{number}") for number in range(3)]
    with rolled_back():
        change(accounts[0])
        one_account.refresh(accounts[0])
    is_first = iter([True, True])

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "refreshed_at" in sql and next(is_first, False):
            raise ValueError("a driver's fault")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse), override_settings(ONTRAPORT_REFRESH_CONCURRENCY=1):
        assert batches.refresh_batch([account.pk for account in accounts]) == {"refreshed": 2}
    assert "could not be taken over" in caplog.text
    assert (leased(), token_of(accounts[0])) == (0, "a.g0.0")
    recovery.recover_all()
    assert token_of(accounts[0]) == "a.g0.1"
    assert strict.dead == []


def test_a_database_that_is_away_while_an_answer_is_taken_over_ends_the_batch(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    is_first = iter([True])

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "refreshed_at" in sql and next(is_first, False):
            raise OperationalError("away")
        return execute(sql, *args)

    monkeypatch.setattr(database, "PATIENCE", 0.0)
    with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
        batches.refresh_batch([account.pk])
    assert (leased(), strict.requests) == (0, 1)


@override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2)
def test_an_account_that_is_named_twice_is_refreshed_once(strict: StrictServer) -> None:
    """It comes again while its first call is under way."""
    pks = [linked(f"g{number}").pk for number in range(6)]
    strict.behave("g0", delay=0.5)
    assert batches.refresh_batch([*pks[:4], pks[0], *pks[4:]]) == {"refreshed": 6}
    assert (strict.requests, strict.dead, leased()) == (6, [], 0)


@pytest.mark.server_database
def test_a_locked_row_keeps_no_other_from_being_given_back(strict: StrictServer) -> None:
    pks = [linked(f"g{number}").pk for number in range(4)]
    (first, *_) = claimed = leases.claim(OntraportAccount.objects.all(), pks, is_probe=False)
    with locked(ROW, pks[0]):
        leases.give_back(dict.fromkeys(pks, first.owner))
        assert leased() == 1
    leases.give_back(dict.fromkeys(pks, first.owner))
    assert (len(claimed), leased()) == (4, 0)


def test_a_lease_of_somebody_else_is_not_given_back() -> None:
    pk = linked("one").pk
    leases.claim(OntraportAccount.objects.all(), [pk], is_probe=False)
    leases.give_back({pk: leases.new_owner()})
    assert leased() == 1


@pytest.mark.server_database
def test_who_is_interrupted_waits_for_no_row_afterwards_either(strict: StrictServer) -> None:
    """The connection that is made anew has to be told once more how long it may wait."""
    pks = [linked(f"g{number}").pk for number in range(4)]
    is_first = iter([True])

    def interrupt(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "refreshed_at" in sql and next(is_first, False):
            raise Unruly
        return execute(sql, *args)

    def refresh() -> None:
        with connection.execute_wrapper(interrupt), pytest.raises(Unruly):
            batches.refresh_batch(pks)

    strict.behave(hold="after")
    with in_thread(refresh) as refreshed:
        strict.wait_for_held(4)
        with locked(ROW, pks[0]):
            strict.release()
            refreshed.result(25)
            saved = OntraportAccount.objects.exclude(refreshed_at=None).count()
    assert saved == 3


def test_an_interruption_while_the_last_calls_of_a_batch_are_waited_for_is_raised(strict: StrictServer) -> None:
    account = linked("one")
    strict.behave(hold="after")
    before = signal.signal(signal.SIGALRM, interrupt_by_signal)

    def interrupt() -> None:
        strict.wait_for_held(1)
        time.sleep(0.5)  # the batch is over, and waits for what was sent
        os.kill(os.getpid(), signal.SIGALRM)
        time.sleep(0.2)
        strict.release()

    try:
        with in_thread(interrupt), pytest.raises(Unruly):
            batches.refresh_batch([account.pk], seconds=0.3)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert token_of(account) == "a.one.1"


def interrupt_by_signal(*_: object) -> None:
    raise Unruly
