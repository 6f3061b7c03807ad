"""An answer that came is saved where it can be, whatever goes wrong beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings

from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, one_account, recovery, spent_tokens
from tests.refreshing.test_one_account import hold_lease, in_thread, rolled_back
from tests.refreshing.test_rollbacks import change, no_note_can_be_made
from tests.refreshing.test_takeover import ROW, locked
from tests.support import dialects
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def once_it_was_sent(strict: StrictServer, fault: Any) -> Iterator[None]:
    """Let ``fault`` happen while the token endpoint holds its answer back."""
    done = threading.Event()
    with ExitStack() as faults:
        strict.behave(hold="after")

        def happen() -> None:
            strict.wait_for_held(1)
            faults.enter_context(fault)
            strict.release()
            done.set()

        with in_thread(happen):
            yield
            assert done.wait(10)
        strict.behave()


def test_an_answer_that_cannot_be_noted_is_in_the_row_when_the_transaction_commits(strict: StrictServer) -> None:
    account = linked("one")
    with transaction.atomic(), once_it_was_sent(strict, no_note_can_be_made()):
        change(account)
        one_account.refresh(account)
    assert (token_of(account), strict.dead) == ("a.one.1", [])
    one_account.refresh(read(account))
    assert (token_of(account), strict.dead) == ("a.one.2", [])


@pytest.mark.sqlite
def test_a_note_that_cannot_be_forgotten_keeps_no_hook_of_others_from_running(strict: StrictServer) -> None:
    """Django logs the name of a hook that failed, and raises where it has none."""
    account = linked("one")
    told: list[bool] = []
    with transaction.atomic():
        change(account)
        one_account.refresh(account)
        transaction.on_commit(lambda: told.append(True))
        fault = no_note_can_be_made()
        transaction.on_commit(lambda: fault.__exit__(None, None, None))
        fault.__enter__()
    assert (told, token_of(account)) == ([True], "a.one.1")
    one_account.refresh(read(account))
    assert strict.dead == []


@pytest.mark.server_database
def test_an_answer_that_can_be_noted_a_moment_later_survives_the_rollback(strict: StrictServer) -> None:
    """The server has no connection left when the answer comes, and has one again when the row was written."""
    account = linked("one")
    fault = no_note_can_be_made()

    def end_fault(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "refreshed_at" in sql:
            fault.__exit__(None, None, None)
        return execute(sql, *args)

    with rolled_back(), connection.execute_wrapper(end_fault), once_it_was_sent(strict, nullcontext_of(fault)):
        change(account)
        one_account.refresh(account)
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@contextmanager
def nullcontext_of(fault: Any) -> Iterator[None]:
    """Begin ``fault``; somebody else ends it."""
    fault.__enter__()
    yield


def test_beat_keeps_the_note_on_an_account_that_it_cannot_see_yet(strict: StrictServer) -> None:
    """The account was made in a transaction that is still open, and whose inner part was rolled back."""
    with transaction.atomic():
        account = linked("one")
        with rolled_back():
            one_account.refresh(account)
        with in_thread(recovery.recover_all) as beat:
            beat.result(20)
    one_account.refresh(read(account))
    assert (strict.dead, strict.requests) == ([], 1)


def test_notes_that_are_forgotten_at_the_commit_are_those_of_before(strict: StrictServer) -> None:
    """The second refresh finds the note of the first, which is of no use any more; the third is rolled back, and its note is needed."""
    account = linked("one")
    with transaction.atomic():
        change(account)
        one_account.refresh(read(account))
        one_account.refresh(read(account))
        with rolled_back():
            one_account.refresh(read(account))
    assert token_of(account) == "a.one.2"
    one_account.ensure_fresh(read(account))
    one_account.refresh(read(account))
    assert (strict.dead, account.uid in spent_tokens.uids()) == ([], False)


@pytest.mark.parametrize("value", ["another", None])
def test_other_code_that_saves_a_secret_meanwhile_does_not_lose_the_answer(
    strict: StrictServer, value: str | None
) -> None:
    account = linked("one", app_id="an id")
    strict.behave(hold="after")
    with in_thread(lambda: one_account.refresh(read(account))) as refreshed:
        strict.wait_for_held(1)
        other = read(account)
        other.app_id = value
        other.save()
        strict.release()
        refreshed.result(20)
    assert (token_of(account), read(account).app_id is None) == ("a.one.1", value is None)
    one_account.refresh(read(account))
    assert (token_of(account), strict.dead) == ("a.one.2", [])


def test_an_answer_for_a_row_that_nobody_can_read_any_more_is_dropped(strict: StrictServer) -> None:
    account = linked("one")
    strict.behave(hold="after")
    with in_thread(lambda: one_account.refresh(read(account))) as refreshed:
        strict.wait_for_held(1)
        table = OntraportAccount._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET refresh_token = access_token, version = version + 1")  # noqa: S608
        strict.release()
        refreshed.result(20)
    assert token_of(account) == "a.one.0"


def test_notes_on_an_account_that_never_came_are_forgotten_in_the_end(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rolled_back():
        account = linked("one")
        one_account.refresh(account)
    recovery.recover_all()
    assert account.uid in spent_tokens.uids()
    monkeypatch.setattr(spent_tokens, "ABANDONED_AFTER", timedelta(hours=-1))
    recovery.recover_all()
    assert account.uid not in spent_tokens.uids()


@override_settings(USE_TZ=False)
def test_notes_serve_sites_without_time_zones(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.dead, strict.requests) == ("a.one.1", [], 1)


@pytest.mark.server_database
def test_a_lock_holds_up_no_save_after_the_connection_was_lost(strict: StrictServer) -> None:
    """The server ends the worker's connection during the calls, and somebody holds one row for longer than anybody may wait."""
    accounts = [linked(f"g{number}") for number in range(3)]
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch([account.pk for account in accounts])) as batch:
        strict.wait_for_held(3)
        dialects.end_others()
        with locked(ROW, accounts[0].pk):
            strict.release()
            assert batch.result(15) == {"refreshed": 3}
    assert [token_of(account) for account in accounts] == ["a.g0.0", "a.g1.1", "a.g2.1"]
    hold_lease(accounts[0], -1)
    recovery.recover_all()
    assert token_of(accounts[0]) == "a.g0.1"
