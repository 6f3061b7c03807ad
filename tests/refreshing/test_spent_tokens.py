"""Notes on spent tokens: one transaction may spend several, and each note is about one token."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from ontraport_connect import linking
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportAccount, OntraportRevocation, OntraportService
from ontraport_connect.refreshing import RATE_LIMITED, batches, circuit_breaker, one_account, recovery, spent_tokens
from ontraport_connect.staff import key_rotation
from tests.refreshing.test_one_account import hold_lease, in_thread, rolled_back
from tests.refreshing.test_rollbacks import change, no_note_can_be_made
from tests.refreshing.test_takeover import note_of
from tests.support.accounts import linked, read, token_of
from tests.support.mariadb import MariaDB
from tests.support.servers import PostgreSQL
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_view_that_refreshed_twice_and_failed_leaves_the_last_token(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
        one_account.refresh(account)
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.2", 2, [])
    one_account.refresh(read(account))
    assert (token_of(account), strict.dead) == ("a.one.3", [])


def test_a_second_refresh_that_fails_does_not_forget_what_the_first_got(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
        strict.behave(status=500)
        with pytest.raises(OntraportUnavailable):
            one_account.refresh(account)
    strict.behave()
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.dead) == ("a.one.1", [])


def test_what_two_savepoints_got_is_found_one_after_the_other(strict: StrictServer) -> None:
    account = linked("one")
    with transaction.atomic():
        with rolled_back():
            change(account)
            one_account.refresh(account)
        one_account.refresh(read(account))
        with rolled_back():
            one_account.refresh(read(account))
    one_account.refresh(read(account))
    one_account.refresh(read(account))
    assert strict.dead == []
    assert token_of(account) == f"a.one.{strict.requests}"


def test_a_token_that_was_being_spent_when_the_process_ended_guards_what_came_before(strict: StrictServer) -> None:
    """The first refresh was answered, the second was not: the first answer is taken, and its token is not sent again at once."""
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
        note_of(account, ends_in=60)
    assert recovery.recover_all() == 0
    assert (token_of(account), spent_tokens.uids()) == ("a.one.1", [account.uid])
    assert batches.refresh_batch([account.pk]) in ({"recovered": 1}, {})
    assert strict.requests == 1
    spent_tokens.forget_account(account.uid)


def test_disconnected_after_two_refreshes_that_were_undone_the_newest_token_is_revoked(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
        one_account.refresh(account)
    current = read(account)
    newest = spent_tokens.successor(current) or current.refresh_token
    assert newest.reveal() == "r.one.2"
    linking.unlink(current)
    assert strict.endpoint.grant("one").reuses == 0


def test_an_answer_that_was_noted_says_nothing_of_whether_the_site_is_served(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    is_noted = account.uid in spent_tokens.uids() and token_of(account) == "a.one.0"
    circuit_breaker.hold(OntraportUnavailable("", code=RATE_LIMITED, retry_after=60.0))
    OntraportService.objects.update(held_until=timezone.now())
    if is_noted:
        one_account.ensure_fresh(read(account))
        assert (token_of(account), strict.requests) == ("a.one.1", 1)
        assert OntraportService.objects.get().hold_code == RATE_LIMITED


def test_a_note_that_nobody_answered_is_no_reason_to_wait(strict: StrictServer) -> None:
    account = linked("one", expires_in=1800)
    note_of(account, ends_in=-1)
    started = time.monotonic()
    with pytest.raises(OntraportUnavailable, match="access token still serves") as raised:
        one_account.refresh(read(account))
    assert raised.value.retry_after is not None
    assert raised.value.retry_after > 1000
    assert (time.monotonic() - started < 5, strict.requests) == (True, 0)
    spent_tokens.forget_account(account.uid)


@pytest.mark.server_database
def test_a_probe_inside_a_transaction_keeps_the_breaker_for_everybody(strict: StrictServer) -> None:
    """A row made in this very transaction is refreshed in it; the right to probe, and what came of it, are committed all the same."""
    circuit_breaker.hold(OntraportUnavailable("", code=RATE_LIMITED, retry_after=60.0))
    OntraportService.objects.update(held_until=timezone.now())
    with rolled_back():
        account = linked("one")
        one_account.refresh(account)
    assert OntraportService.objects.get().hold_code == ""


def test_keys_are_rotated_in_notes_too(strict: StrictServer, settings: Any) -> None:
    """What a note holds goes into the row, and is encrypted anew there; afterwards the old key is not needed."""
    old, new = "an-old-key-that-is-long-enough-for-this", "a-new-key-that-is-long-enough-for-this"
    settings.ONTRAPORT_ENCRYPTION_KEYS = [old]
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    settings.ONTRAPORT_ENCRYPTION_KEYS = [new, old]
    assert key_rotation.rotate_keys(lambda seen: None).changed == 0
    settings.ONTRAPORT_ENCRYPTION_KEYS = [new]
    assert (token_of(account), recovery.recover_all(), strict.dead) == ("a.one.1", 0, [])


@pytest.mark.parametrize("way", [batches.refresh_batch, lambda pks: one_account.ensure_fresh(read_by(pks))])
def test_a_process_without_the_newest_key_takes_an_answer_over_that_it_cannot_read(
    strict: StrictServer, settings: Any, way: Any
) -> None:
    """Keys are rotated, the web processes have the new one first, and a view fails: the worker sends no spent token."""
    old, new = "an-old-key-that-is-long-enough-for-this", "a-new-key-that-is-long-enough-for-this"
    settings.ONTRAPORT_ENCRYPTION_KEYS = [old]
    account = linked("one")
    settings.ONTRAPORT_ENCRYPTION_KEYS = [new, old]
    with rolled_back():
        change(account)
        one_account.refresh(account)
        one_account.refresh(account)
    settings.ONTRAPORT_ENCRYPTION_KEYS = [old]
    with suppress(OntraportError):
        way([account.pk])
    assert (strict.requests, strict.dead) == (2, [])
    settings.ONTRAPORT_ENCRYPTION_KEYS = [new, old]
    recovery.recover_all()
    assert token_of(account) == "a.one.2"
    one_account.refresh(read(account))
    assert (strict.requests, strict.dead) == (3, [])


def read_by(pks: list[int]) -> OntraportAccount:
    return OntraportAccount.objects.get(pk=pks[0])


@pytest.mark.parametrize("step", [lambda account: recovery.recover_all(), lambda account: read(account).delete()])
def test_an_answer_with_the_same_refresh_token_is_followed_by_no_other(strict: StrictServer, step: Any) -> None:
    """Not every server gives another one (RFC 6749, 6)."""
    account = linked("one")
    members = {"access_token": "a.one.1", "refresh_token": "r.one.0", "token_type": "Bearer", "expires_in": 3600}
    strict.behave("one", status=200, members=members)
    with rolled_back():
        change(account)
        one_account.refresh(account)
    with in_thread(lambda: step(account)) as done:
        done.result(20)
    assert list(spent_tokens.uids(answered=True)) == []


def test_a_note_whose_row_is_held_is_left_to_the_next_run(strict: StrictServer) -> None:
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    if account.uid not in spent_tokens.uids(answered=True):
        return  # taken over already
    hold_lease(account, 60)
    assert key_rotation.rotate_keys(lambda seen: None).changed == 1
    hold_lease(account, -1)
    assert key_rotation.rotate_keys(lambda seen: None).changed == 0
    assert (token_of(account), strict.dead) == ("a.one.1", [])


def test_whoever_looks_for_answers_leaves_a_lease_alone_that_nobody_gave_back(strict: StrictServer) -> None:
    """The account was linked anew after a rollback, so that its note is about an older token, and then a process was killed."""
    account = linked("one", expires_in=1800)
    note_of(account, ends_in=-1)
    account.access_token, account.refresh_token = "a.two.0", "r.two.0"
    account.save()
    hold_lease(account, -1)
    assert recovery.recover_all() == 0
    assert read(account).lease_until is not None
    OntraportAccount.objects.update(lease_until=None)
    recovery.recover_all()
    assert (read(account).lease_until, account.uid in spent_tokens.uids()) == (None, False)


def test_whoever_looks_for_answers_passes_over_a_row_that_cannot_be_read(strict: StrictServer, settings: Any) -> None:
    account = linked("one")
    note_of(account, ends_in=60)
    settings.ONTRAPORT_ENCRYPTION_KEYS = ["another-key-that-is-long-enough-for-this"]
    assert recovery.recover_all() == 0
    assert account.uid in spent_tokens.uids()
    spent_tokens.forget_account(account.uid)


@pytest.mark.parametrize("way", [one_account.ensure_fresh, one_account.refresh, one_account.replace_refused])
def test_an_answer_that_came_long_ago_and_has_expired_is_followed_by_a_refresh(strict: StrictServer, way: Any) -> None:
    strict.endpoint.lifetime = 30
    account = linked("one")
    with rolled_back():
        change(account)
        one_account.refresh(account)
    strict.endpoint.lifetime = 3600
    account = read(account)
    way(account)
    assert (account.access_token.reveal(), strict.requests, strict.dead) == ("a.one.2", 2, [])


@pytest.mark.server_database
def test_an_answer_that_comes_while_the_database_restarts_is_noted_all_the_same(
    strict: StrictServer, database_server: PostgreSQL | MariaDB
) -> None:
    """The view holds its row, and its transaction ends with the server; the note is made once the server is back."""
    account = linked("one")
    strict.behave(hold="after")

    def view() -> None:
        with suppress(DatabaseError, InterfaceError, OntraportUnavailable), transaction.atomic():
            change(account)
            one_account.refresh(account)

    with in_thread(view) as viewed:
        strict.wait_for_held()
        database_server.stop()
        strict.release()
        database_server.start()
        viewed.result(30)
    connection.close()
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.postgresql
def test_a_commit_does_not_wait_for_a_notes_table_that_somebody_keeps_locked(strict: StrictServer) -> None:
    account = linked("one")
    with ExitStack() as locked:
        with transaction.atomic():
            change(account)
            one_account.refresh(account)
            locked.enter_context(no_note_can_be_made())
        assert account.uid in spent_tokens.uids()  # it could not be forgotten, and nobody waited for that
    one_account.ensure_fresh(read(account))
    one_account.refresh(read(account))
    assert (token_of(account), strict.dead) == ("a.one.2", [])
    recovery.recover_all()
    assert account.uid not in spent_tokens.uids()


def test_a_token_that_may_be_under_way_is_left_to_whoever_sent_it(strict: StrictServer) -> None:
    account = linked("one")
    note_of(account, ends_in=60)
    recovery.recover_all()
    assert account.uid in spent_tokens.uids()
    assert (read(account).lease_until, strict.requests) == (None, 0)
    spent_tokens.forget_account(account.uid)


@pytest.mark.sqlite
def test_a_database_has_the_same_notes_by_whatever_name(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each release of a site may have its own link to the one file."""
    account = linked("one")
    with rolled_back():
        one_account.refresh(account)
    link = tmp_path / "db.sqlite3"
    link.symlink_to(Path(connection.settings_dict["NAME"]).resolve())
    monkeypatch.setitem(connection.settings_dict, "NAME", str(link))
    assert list(spent_tokens.uids()) == [account.uid]


@pytest.mark.server_database
def test_what_comes_while_its_account_is_being_deleted_is_revoked(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a page takes long after it has disconnected, the answer to a refresh cannot be saved. Not every server ends a grant for a spent
    token (RFC 7009, 2.2).
    """
    revoked: list[str] = []
    monkeypatch.setattr(strict.endpoint, "revoke", revoked.append)
    account = linked("one", expires_in=3600)
    strict.behave("one", hold="after")
    with in_thread(lambda: batches.refresh_batch([account.pk])) as done:
        strict.wait_for_held()
        with transaction.atomic():
            linking.unlink(read(account))
            strict.release()
            done.result(20)
    assert sorted(revoked) == ["r.one.0", "r.one.1"]
    assert (spent_tokens.uids(), OntraportRevocation.objects.count()) == ([], 0)


@pytest.mark.server_database
def test_what_is_noted_after_its_account_was_deleted_is_revoked(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row was held when it was to be saved, and is gone before it is noted."""
    revoked: list[str] = []
    monkeypatch.setattr(strict.endpoint, "revoke", revoked.append)
    account = linked("one", expires_in=3600)
    is_to_be_noted, is_deleted = Event(), Event()

    def wait(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("INSERT") and "ontraportspenttoken" in sql:
            is_to_be_noted.set()
            assert is_deleted.wait(20)
        return execute(sql, *args)

    def refresh() -> None:
        with connection.execute_wrapper(wait), pytest.raises(ReconnectRequired):
            one_account.refresh(read(account))

    strict.behave("one", hold="after")
    with in_thread(refresh) as done:
        strict.wait_for_held()
        with transaction.atomic():
            linking.unlink(read(account))
            strict.release()
            assert is_to_be_noted.wait(20)
        is_deleted.set()
        done.result(20)
    assert sorted(revoked) == ["r.one.0", "r.one.1"]
