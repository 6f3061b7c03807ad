"""A lease that nobody gave back is left alone while the access token serves, and a save never waits for one row's lock."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import batches, due_accounts, one_account, recovery, spent_tokens
from ontraport_connect.refreshing.spent_token_stores import SpentToken
from tests.refreshing.test_crashes import child, let_the_lease_end
from tests.refreshing.test_one_account import hold_lease, in_thread, rolled_back
from tests.support import dialects
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

Environ = Callable[..., dict[str, str]]

ROUNDS = int(os.environ.get("ROUNDS", "1"))
"""How often each scene of the red team is played."""


def tokens() -> list[str]:
    return [account.access_token.reveal() for account in OntraportAccount.objects.order_by("pk")]


def test_a_lease_that_nobody_gave_back_waits_for_the_end_of_the_access_token(strict: StrictServer) -> None:
    account = linked("one", expires_in=1800)
    hold_lease(account, -1)
    assert list(due_accounts.due_batches(10)) == []
    assert batches.refresh_batch([account.pk]) == {}
    with pytest.raises(OntraportUnavailable, match="access token still serves") as raised:
        one_account.refresh(account)
    assert 1600 < (raised.value.retry_after or 0) < 1700
    one_account.ensure_fresh(account)
    assert strict.requests == 0
    OntraportAccount.objects.update(expires_at=timezone.now() + timedelta(seconds=100))
    assert list(due_accounts.due_batches(10)) == [[account.pk]]
    assert batches.refresh_batch([account.pk]) == {"refreshed": 1}


def test_a_refused_access_token_serves_nobody_so_the_lease_is_taken_over(strict: StrictServer) -> None:
    account = linked("one", expires_in=1800)
    hold_lease(account, 60)
    with override_settings(ONTRAPORT_TIMEOUT=(0.05, 0.05)), pytest.raises(OntraportUnavailable):
        one_account.refresh(read(account))
    hold_lease(account, -1)
    one_account.replace_refused(account)
    assert (token_of(account), strict.requests) == ("a.one.1", 1)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_worker_that_was_stopped_for_longer_than_its_leases_ends_no_link(
    strict: StrictServer, child_environ: Environ, tmp_path: Path, round_: int
) -> None:
    """SIGSTOP in the middle of a batch, the leases end, other workers come by, SIGCONT: its answers are saved as if nothing had been."""
    accounts = [linked(f"g{number}", expires_in=1800) for number in range(32)]
    pks = [str(account.pk) for account in accounts]
    strict.behave(hold="after")
    with child(child_environ(**strict.settings), tmp_path / "log", "batch", *pks) as process:
        strict.wait_for_held(len(pks))
        process.child.send_signal(signal.SIGSTOP)
        strict.release()
        let_the_lease_end()
        assert batches.refresh_batch([account.pk for account in accounts]) == {}
        process.child.send_signal(signal.SIGCONT)
        assert process.child.wait(20) == 0, process.output
    assert tokens() == [f"a.g{number}.1" for number in range(32)]
    strict.behave()
    for account in accounts:
        one_account.refresh(read(account))
    assert (strict.dead, strict.requests) == ([], 64)


@contextmanager
def locked(statement: str, *parameters: int | str) -> Iterator[None]:
    """Hold what ``statement`` locks, in another transaction."""
    has_it, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            has_it.set()
            assert done.wait(60)

    with in_thread(hold):
        assert has_it.wait(10)
        try:
            yield
        finally:
            done.set()


ROW = "SELECT 1 FROM ontraport_connect_ontraportaccount WHERE id = %s FOR UPDATE"


@pytest.mark.server_database
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_one_blocked_row_delays_no_other_and_loses_nothing(strict: StrictServer, round_: int) -> None:
    """The row of one of twenty accounts is held from before the answers came until after every lease has ended."""
    accounts = [linked(f"g{number}") for number in range(20)]
    pks = [account.pk for account in accounts]
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch(pks)) as first:
        strict.wait_for_held(20)
        with locked(ROW, pks[0]):
            strict.release()
            assert first.result(20) == {"refreshed": 20}
            assert tokens() == ["a.g0.0", *(f"a.g{number}.1" for number in range(1, 20))]
            strict.behave()
            let_the_others_leases_end(pks[0])
            assert batches.refresh_batch(pks) == {}
    let_the_lease_end()
    assert batches.refresh_batch(pks) == {"recovered": 1}
    assert (tokens()[0], strict.requests, strict.dead) == ("a.g0.1", 20, [])


def let_the_others_leases_end(pk: int) -> None:
    past = timezone.now() - timedelta(seconds=1)
    OntraportAccount.objects.exclude(pk=pk).exclude(lease_until=None).update(lease_until=past)


@pytest.mark.server_database
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_locked_table_loses_nothing(strict: StrictServer, round_: int) -> None:
    """As while a migration creates an index: every answer is kept beside its row."""
    accounts = [linked(f"g{number}") for number in range(5)]
    pks = [account.pk for account in accounts]
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch(pks)) as first:
        strict.wait_for_held(5)
        with locked(dialects.lock_table(OntraportAccount)):
            strict.release()
            assert first.result(30) == {"refreshed": 5}
            assert tokens() == [f"a.g{number}.0" for number in range(5)]
    let_the_lease_end()
    assert recovery.recover_all() == 0
    assert tokens() == [f"a.g{number}.1" for number in range(5)]
    assert strict.dead == []


@pytest.mark.server_database
def test_who_asked_for_a_token_whose_row_is_blocked_gets_it_all_the_same(strict: StrictServer) -> None:
    account = linked("one")
    strict.behave(hold="after")
    with in_thread(lambda: one_account.refresh(account)) as refreshed:
        strict.wait_for_held()
        with locked(ROW, account.pk):
            strict.release()
            refreshed.result(20)
            assert account.access_token.reveal() == "a.one.1"
            assert token_of(account) == "a.one.0"
    let_the_lease_end()
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.postgresql
def test_a_site_that_lets_no_statement_take_long_holds_up_no_answer(strict: StrictServer) -> None:
    accounts = [linked(f"g{number}") for number in range(4)]
    strict.behave(hold="after")

    def limit(connection: Any, **event: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '300ms'")

    connection_created.connect(limit)
    try:
        with in_thread(lambda: batches.refresh_batch([account.pk for account in accounts])) as refreshed:
            strict.wait_for_held(4)
            with locked(ROW, accounts[0].pk):
                strict.release()
                assert refreshed.result(20) == {"refreshed": 4}
    finally:
        connection_created.disconnect(limit)
    let_the_lease_end()
    assert recovery.recover_all() == 0
    assert tokens() == [f"a.g{number}.1" for number in range(4)]


@pytest.mark.server_database
def test_a_note_without_an_answer_is_a_lease(strict: StrictServer) -> None:
    """Another process spends the token inside its own transaction, which holds no row: nobody else sends it meanwhile."""
    account = linked("one")
    strict.behave(hold="after")
    done = threading.Event()

    def view() -> None:
        with rolled_back():
            account.label = "changed"
            account.save()
            one_account.refresh(read(account))
            assert done.wait(20)

    with in_thread(view) as viewed:
        strict.wait_for_held()
        assert batches.refresh_batch([account.pk]) == {}
        [uid] = spent_tokens.uids()
        assert uid == account.uid
        strict.release()
        done.set()
        viewed.result(20)
    assert batches.refresh_batch([account.pk]) == {"recovered": 1}
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


def note_of(account: OntraportAccount, *, ends_in: float) -> None:
    now = timezone.now()
    spent_tokens.begin(
        SpentToken(
            digest=spent_tokens.digest_of(account),
            account_uid=account.uid,
            owner="another",
            sent_at=now,
            until=now + timedelta(seconds=ends_in),
        )
    )


def test_whoever_finds_an_unanswered_note_waits_until_somebody_needs_the_token(strict: StrictServer) -> None:
    account = linked("one", expires_in=1800)
    note_of(account, ends_in=60)
    with override_settings(ONTRAPORT_TIMEOUT=(0.05, 0.05)), pytest.raises(OntraportUnavailable):
        one_account.replace_refused(read(account))
    note = spent_tokens.find(account)
    assert note is not None
    spent_tokens.forget_account(account.uid)
    note_of(account, ends_in=-1)
    assert batches.refresh_batch([account.pk]) == {"recovered": 1}
    assert (strict.requests, read(account).lease_until) == (0, None)
    one_account.replace_refused(read(account))
    assert (token_of(account), strict.requests, spent_tokens.find(read(account))) == ("a.one.1", 1, None)


def test_a_note_on_a_row_that_cannot_be_read_does_no_harm(strict: StrictServer, settings: Any) -> None:
    account = linked("one")
    note_of(account, ends_in=60)
    settings.ONTRAPORT_ENCRYPTION_KEYS = ["another-key-that-is-long-enough-for-this"]
    assert batches.refresh_batch([account.pk]) == {"secret_unreadable": 1}
    assert read(account).status == Status.CONNECTED
    spent_tokens.forget_account(account.uid)


def test_an_answer_in_a_note_that_comes_too_late_for_the_row_changes_nothing(strict: StrictServer) -> None:
    account = linked("one")
    note_of(account, ends_in=60)
    account.access_token, account.refresh_token = "a.two.0", "r.two.0"
    account.save()
    one_account.refresh(read(account))
    assert (token_of(account), account.uid in spent_tokens.uids()) == ("a.two.1", False)
