"""What guards a spent token outlives every rollback."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from ontraport_connect import database, linking, staff
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportAccount, OntraportEvent, OntraportSpentToken, Status
from ontraport_connect.refreshing import batches, due_accounts, one_account, recovery, spent_tokens
from ontraport_connect.refreshing.spent_token_stores import sqlite_store
from tests.refreshing.test_one_account import Undone, hold_lease, in_thread, rolled_back
from tests.support import dialects
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = int(os.environ.get("ROUNDS", "3"))
"""How often a scene is played that chance has a part in."""


def test_a_save_that_fails_in_the_callers_transaction_is_not_tried_again_in_vain(strict: StrictServer) -> None:
    def fail_to_save(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "refreshed_at" in sql:
            raise OperationalError("disk I/O error")
        return execute(sql, *args)

    account = linked("one")
    with transaction.atomic():
        change(account)
        with connection.execute_wrapper(fail_to_save), pytest.raises(OntraportUnavailable) as raised:
            one_account.refresh(account)
        assert raised.value.code == "database"
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


def test_the_view_rolls_back_and_the_new_token_stays(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        OntraportEvent.objects.create(kind="linked")
        one_account.refresh(account)
        assert account.access_token.reveal() == "a.one.1"
    assert not OntraportEvent.objects.exists()
    again = read(account)
    one_account.ensure_fresh(again)
    assert (token_of(account), again.access_token.reveal(), strict.requests) == ("a.one.1", "a.one.1", 1)
    one_account.refresh(again)
    assert (token_of(account), strict.dead) == ("a.one.2", [])


def test_the_view_commits_and_the_new_token_is_saved_once(strict: StrictServer) -> None:
    account = linked("one")
    with transaction.atomic():
        one_account.refresh(account)
        one_account.refresh(account)
    assert (token_of(account), read(account).version, strict.dead) == ("a.one.2", 2, [])


def test_a_savepoint_that_was_rolled_back_does_not_spend_the_token_again(strict: StrictServer) -> None:
    with transaction.atomic():
        account = linked("one")
        with rolled_back():
            one_account.refresh(account)
        again = OntraportAccount.objects.get()
        one_account.ensure_fresh(again)
        assert again.access_token.reveal() == "a.one.1"
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


def test_an_account_made_in_this_transaction_is_refreshed_at_once(strict: StrictServer) -> None:
    started = time.monotonic()
    with transaction.atomic():
        account = linked("one")
        one_account.refresh(account)
        assert token_of(account) == "a.one.1"
    assert time.monotonic() - started < one_account.LONG_WAIT
    assert token_of(account) == "a.one.1"


def test_in_a_transaction_an_account_that_is_gone_needs_to_be_reconnected(strict: StrictServer) -> None:
    account = linked("one")
    OntraportAccount.objects.all().delete()
    with transaction.atomic(), pytest.raises(ReconnectRequired, match="disconnected"):
        one_account.refresh(account)


def test_in_a_transaction_a_marked_account_stays_marked(strict: StrictServer) -> None:
    strict.behave(status=400, members={"error": "invalid_grant"})
    account = linked("one")
    with transaction.atomic():
        for _ in range(2):
            with pytest.raises(ReconnectRequired):
                one_account.refresh(account)
    assert (read(account).status, strict.requests) == (Status.NEEDS_RECONNECT, 1)


@pytest.mark.sqlite
def test_in_a_transaction_on_sqlite_nobody_waits_for_who_waits_for_this_transaction(strict: StrictServer) -> None:
    account = linked("one")
    hold_lease(account, 60)
    started = time.monotonic()
    with transaction.atomic(), pytest.raises(OntraportUnavailable) as raised:
        one_account.refresh(account)
    assert raised.value.code == "busy"
    assert time.monotonic() - started < 0.5


@pytest.mark.server_database
def test_an_account_that_this_transaction_has_changed_is_refreshed_in_it_and_survives_it(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        account.label = "changed"
        account.save()
        one_account.refresh(account)
        assert account.access_token.reveal() == "a.one.1"
    one_account.ensure_fresh(read(account))
    assert (token_of(account), read(account).label, strict.dead, strict.requests) == ("a.one.1", "", [], 1)


def refresh_elsewhere(account: OntraportAccount) -> None:
    """What a worker does who comes by, on a connection of its own."""
    with in_thread(lambda: batches.refresh_batch([account.pk])) as done:
        done.result(20)


def change(account: OntraportAccount) -> None:
    account.label = "changed"
    account.save()


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_worker_that_comes_after_an_inner_rollback_does_not_spend_the_token_again(
    strict: StrictServer, round_: int
) -> None:
    """The view goes on after a savepoint was rolled back, its row shows the spent token, and a worker comes by."""
    account = linked("one")
    with transaction.atomic():
        with rolled_back():
            change(account)
            one_account.refresh(account)
        if not database.has_one_writer():
            refresh_elsewhere(account)
    refresh_elsewhere(account)
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.parametrize("is_changed", [True, False])
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_three_rivals_after_a_view_that_fails_do_not_spend_the_token_again(
    strict: StrictServer, round_: int, is_changed: bool
) -> None:
    account = linked("one")
    stop = threading.Event()

    def rival() -> None:
        while not stop.is_set():
            with suppress(OntraportError):
                one_account.ensure_fresh(read(account))
            time.sleep(0.001)

    with in_thread(rival), in_thread(rival), in_thread(rival):
        try:
            with rolled_back():
                if is_changed:
                    change(account)
                with suppress(OntraportUnavailable):
                    one_account.refresh(account)
        finally:
            stop.set()
    one_account.ensure_fresh(read(account))
    assert (strict.dead, read(account).status) == ([], Status.CONNECTED)
    one_account.refresh(read(account))
    assert strict.dead == []


def test_who_reads_the_row_after_a_rollback_takes_what_came_and_sends_nothing(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    assert batches.refresh_batch([account.pk]) in ({"recovered": 1}, {})
    assert (token_of(account), strict.requests) == ("a.one.1", 1)
    assert account.uid not in spent_tokens.uids()


def test_a_savepoint_in_a_transaction_that_commits_is_no_danger_either(strict: StrictServer) -> None:
    with transaction.atomic():
        account = linked("one")
        with rolled_back():
            one_account.refresh(account)
    assert token_of(account) == "a.one.0"
    refresh_elsewhere(account)
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


def test_rolled_back_again_and_again_it_is_one_refresh(strict: StrictServer) -> None:
    account = linked("one")
    for _ in range(3):
        with rolled_back():
            change(account)
            one_account.ensure_fresh(read(account))
    assert strict.requests == 1
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


def test_beat_takes_over_what_came_although_the_row_is_not_due(strict: StrictServer) -> None:
    account = linked("one", expires_in=3600)
    OntraportAccount.objects.update(refresh_at=account.expires_at)
    with rolled_back():
        change(account)
        one_account.refresh(account)
    assert list(due_accounts.due_batches(10)) == []
    assert (token_of(account), strict.requests, account.uid in spent_tokens.uids()) == ("a.one.1", 1, False)


def test_disconnected_after_a_rollback_the_grant_that_lives_is_revoked(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    linking.unlink(read(account))
    assert strict.dead == ["one"]
    assert strict.endpoint.grant("one").reuses == 0
    assert recovery.recover_all() == 0


def test_relinked_after_a_rollback_what_came_is_forgotten(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    if token_of(account) == "a.one.0":
        again = read(account)
        again.access_token, again.refresh_token = "a.two.0", "r.two.0"
        again.save()
        assert recovery.recover_all() == 0
        assert token_of(account) == "a.two.0"


def test_a_refused_refresh_leaves_no_note(strict: StrictServer) -> None:
    strict.behave(status=500)
    account = linked("one")
    with rolled_back():
        change(account)
        with pytest.raises(OntraportUnavailable):
            one_account.refresh(account)
    assert account.uid not in spent_tokens.uids()
    strict.behave()
    one_account.refresh(read(account))
    assert token_of(account) == "a.one.1"


def test_where_nothing_can_be_noted_outside_nothing_is_sent(strict: StrictServer) -> None:
    account = linked("one")
    with transaction.atomic():
        change(account)
        with no_note_can_be_made(), pytest.raises(OntraportUnavailable) as raised:
            one_account.refresh(account)
        assert raised.value.code == "database"
        assert isinstance(raised.value.__cause__, DatabaseError)
    assert strict.requests == 0
    one_account.refresh(read(account))
    assert (token_of(account), read(account).lease_until) == ("a.one.1", None)


@contextmanager
def no_note_can_be_made() -> Iterator[None]:
    """A table, or a file, that somebody else keeps locked."""
    if database.has_one_writer():
        store = sqlite_store()
        name, store._name, memory, store._in_memory = store._name, "/nowhere/at/all", store._in_memory, None
        try:
            yield
        finally:
            store._name, store._in_memory = name, memory
        return
    locked, done = threading.Event(), threading.Event()

    def hold_table() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(dialects.lock_table(OntraportSpentToken))
            locked.set()
            assert done.wait(20)

    with in_thread(hold_table):
        assert locked.wait(10)
        try:
            yield
        finally:
            done.set()


def test_with_autocommit_off_the_new_token_is_committed(strict: StrictServer) -> None:
    account = linked("one")
    settings = connections["default"].settings_dict

    def without_autocommit() -> None:
        one_account.refresh(read(account))

    settings["AUTOCOMMIT"] = False
    try:
        with in_thread(without_autocommit) as done:
            done.result(20)
    finally:
        settings["AUTOCOMMIT"] = True
    if (
        database.has_one_writer()
    ):  # it commits what is in an ``atomic`` block all the same: the lease stays until it ends
        hold_lease(account, -1)
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.server_database
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_in_a_transaction_that_sees_an_old_snapshot_nothing_is_spent_twice(strict: StrictServer, level: str) -> None:
    """Where a serializable transaction locks what it reads (MySQL), nobody can refresh that account until it ends."""
    account = linked("one")
    with rolled_back():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        stale = read(account)
        refresh_elsewhere(account)
        if dialects.locks_what_it_reads(level):
            with pytest.raises(OntraportUnavailable):
                one_account.refresh(stale)
        else:
            one_account.refresh(stale)
            assert stale.access_token.reveal() == "a.one.1"
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.server_database
def test_in_a_read_only_transaction_the_new_token_is_committed(strict: StrictServer) -> None:
    account = linked("one")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        one_account.refresh(account)
    assert (token_of(account), strict.requests) == ("a.one.1", 1)


@pytest.mark.sqlite
def test_on_sqlite_a_token_that_serves_is_not_refreshed_inside_a_transaction(strict: StrictServer) -> None:
    account = linked("one", expires_in=30)
    with transaction.atomic():
        one_account.ensure_fresh(account)
    assert strict.requests == 0
    one_account.ensure_fresh(account)
    assert strict.requests == 1


def test_key_rotation_reaches_tokens_that_are_kept_beside_their_row(strict: StrictServer) -> None:
    keys = ["the-first-key-of-the-tests-that-is-long-enough", "the-second-key-of-the-tests-that-is-long-enough"]
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=keys[:1]):
        account = linked("one")
        with rolled_back():
            change(account)
            one_account.refresh(account)
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[keys[1], keys[0]]):
        summary = staff.rotate_keys(lambda seen: None)
    assert (summary.changed, summary.unreadable) == (0, [])
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=keys[1:]):
        assert (token_of(account), account.uid in spent_tokens.uids()) == ("a.one.1", False)


def failing_view(request: HttpRequest) -> HttpResponse:
    account = request.ontraport.account  # type: ignore[attr-defined]
    change(account)
    one_account.refresh(account)
    raise Undone


urlpatterns = [path("", failing_view)]


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_page_that_failed_has_its_tokens_in_the_row_when_it_has_ended(
    strict: StrictServer, client: Client, async_client: AsyncClient, is_async: bool
) -> None:
    account = linked("one")
    options = connections["default"].settings_dict
    options["ATOMIC_REQUESTS"] = True
    try:
        if is_async:
            async_client.raise_request_exception = False
            async_to_sync(async_client.aforce_login)(account.user)
            async_to_sync(async_client.get)("/")
        else:
            client.raise_request_exception = False
            client.force_login(account.user)
            client.get("/")
    finally:
        options["ATOMIC_REQUESTS"] = False
    assert (token_of(account), read(account).label, account.uid in spent_tokens.uids()) == ("a.one.1", "", False)
    assert (strict.requests, strict.dead) == (1, [])


def test_what_cannot_be_taken_over_at_once_is_left_to_the_beat_task(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    account = linked("one")

    def fail(*args: Any) -> Any:
        raise OperationalError("the database system is shutting down")

    with rolled_back():
        change(account)
        one_account.refresh(account)
        recovery.recover_left()
        assert recovery.has_left()
    with connection.execute_wrapper(fail):
        recovery.recover_left()
    assert "the beat task does that" in caplog.text
    assert list(due_accounts.due_batches(10)) == []
    assert token_of(account) == "a.one.1"
