"""An interrupted call, save or thread loses no token and shows none."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.linking import limits
from ontraport_connect.models import OntraportAccount, OntraportSpentToken
from ontraport_connect.protocol import deadline
from ontraport_connect.refreshing import (
    batches,
    circuit_breaker,
    client_settings,
    leases,
    one_account,
    recovery,
    spending,
    spent_tokens,
)
from ontraport_connect.refreshing.spent_token_stores import sqlite_store
from tests.refreshing.test_batches import many, tokens
from tests.refreshing.test_circuit_breaker import REFUSED, let_time_pass
from tests.refreshing.test_crashes import let_the_lease_end
from tests.refreshing.test_one_account import in_thread
from tests.refreshing.test_rollbacks import change
from tests.refreshing.test_takeover import ROW, locked
from tests.support.accounts import linked, read, token_of
from tests.support.answering import Answering, Reply
from tests.support.dialects import quoted
from tests.support.linked import person
from tests.support.servers import wait_until
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def fails(error: type[BaseException], number: int = 1) -> Callable[..., Any]:
    """Return an execute wrapper that lets the save with this number fail."""
    saves = iter(range(1, number + 1))

    def wrapper(execute: Any, sql: str, *args: Any) -> Any:
        is_save = sql.startswith("UPDATE") and '"refreshed_at"' in quoted(sql).split("WHERE", maxsplit=1)[0]
        if is_save and next(saves, None) == number:
            raise error
        return execute(sql, *args)

    return wrapper


def test_a_token_is_not_sent_when_the_lookup_of_the_name_outlasts_its_lease(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, copy = linked("one"), OntraportAccount.objects.get()
    look_up, first_time = socket.getaddrinfo, iter([True])

    def slowly_at_first(*args: Any, **kwargs: Any) -> Any:
        if next(first_time, False):
            time.sleep(4)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(spending, "SEND_WITHIN", 1)
    monkeypatch.setattr(leases, "SEND_WITHIN", 1)
    monkeypatch.setattr(leases, "SAVE_WITHIN", 0.3)
    monkeypatch.setattr(deadline, "LONGEST_LOOKUP", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", slowly_at_first)
    with (
        override_settings(ONTRAPORT_TIMEOUT=(0.4, 0.8)),
        in_thread(lambda: one_account.refresh(account)) as first,
    ):
        time.sleep(2.7)  # the lease ends after 2.5 seconds
        one_account.refresh(copy)
        first.result(10)
    assert (strict.requests, strict.dead) == (1, [])
    assert account.access_token.reveal() == copy.access_token.reveal() == "a.one.1"


def test_a_token_is_not_sent_when_the_machine_has_slept_while_it_connected(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine may have taken the lease over."""
    account, look_up, slept = linked("one"), socket.getaddrinfo, [0.0]

    def sleep(*args: Any, **kwargs: Any) -> Any:
        slept[0] = 3600.0
        return look_up(*args, **kwargs)

    monkeypatch.setattr(deadline, "monotonic_seconds", lambda: time.monotonic() + slept[0])
    monkeypatch.setattr(socket, "getaddrinfo", sleep)
    with pytest.raises(OntraportUnavailable):
        one_account.refresh(account)
    assert (strict.requests, token_of(account)) == (0, "a.one.0")


@pytest.mark.parametrize("interruption", [SoftTimeLimitExceeded, KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("how", ["alone", "batch"])
def test_who_is_interrupted_while_saving_saves_first(
    strict: StrictServer, interruption: type[BaseException], how: str
) -> None:
    account = linked("one")
    with connection.execute_wrapper(fails(interruption)), suppress(interruption):
        if how == "batch":
            batches.refresh_batch([account.pk])
        else:
            one_account.refresh(account)
    assert token_of(account) == "a.one.1"


def raise_time_limit(*_: object) -> None:
    raise SoftTimeLimitExceeded


@pytest.mark.sqlite
def test_who_is_interrupted_while_noting_an_answer_notes_it_first(strict: StrictServer) -> None:
    account, notes = linked("one"), sqlite_store()
    before = signal.signal(signal.SIGALRM, raise_time_limit)

    def interrupt() -> None:
        wait_until(lambda: strict.requests, "the request")
        with notes._connected() as connected:
            connected.execute("BEGIN IMMEDIATE")
            time.sleep(0.6)  # the answer has come, and waits to be noted
            signal.raise_signal(signal.SIGALRM)
            time.sleep(0.2)

    strict.behave(delay=0.3)
    try:
        with in_thread(interrupt) as interrupted, suppress(SoftTimeLimitExceeded), transaction.atomic():
            change(account)
            one_account.refresh(account)
            pytest.fail("nothing interrupted this")
        interrupted.result(10)
    finally:
        signal.signal(signal.SIGALRM, before)
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.postgresql
def test_who_is_interrupted_while_keeping_the_answer_of_a_held_row_keeps_it_first(strict: StrictServer) -> None:
    account, interruptions = linked("one"), iter([True])

    def interrupt(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("INSERT") and OntraportSpentToken._meta.db_table in sql and next(interruptions, False):
            raise SoftTimeLimitExceeded
        return execute(sql, *args)

    def refresh() -> None:
        with connection.execute_wrapper(interrupt), pytest.raises(SoftTimeLimitExceeded):
            one_account.refresh(account)

    strict.behave(hold="after")
    with in_thread(refresh) as refreshed:
        strict.wait_for_held(1)
        with locked(ROW, account.pk):
            strict.release()
            refreshed.result(20)
    let_the_lease_end()
    recovery.recover_all()
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])


@pytest.mark.parametrize("others", ["unreadable", "away"])
def test_a_probe_that_tells_nothing_lets_nobody_follow(strict: StrictServer, others: str) -> None:
    """Any account may be the probe. One that cannot be read is passed over; one without a clear answer ends the batch."""
    pks = many(40)
    if others == "unreadable":
        strict.behave(status=400, members={"error": "invalid_client"}, delay=0.05)
        for pk in pks[::2]:
            OntraportAccount.objects.filter(pk=pk).update(refresh_token=None)
    else:
        strict.behave(status=500, delay=0.05)
    circuit_breaker.hold(REFUSED)
    let_time_pass()
    batches.refresh_batch(pks)
    assert strict.requests == 1


def test_that_another_client_is_served_does_not_end_the_hold_on_the_configured_one(strict: StrictServer) -> None:
    other = linked("other", client_id="https://site.example/client.json")
    circuit_breaker.hold(REFUSED)
    let_time_pass()
    assert batches.refresh_batch([other.pk]) == {"refreshed": 1}
    assert circuit_breaker.is_site_refused()


def test_who_read_the_account_long_ago_does_not_take_an_expired_token_for_a_fresh_one(strict: StrictServer) -> None:
    account, stale = linked("one"), OntraportAccount.objects.get()
    one_account.refresh(account)
    now = timezone.now()
    OntraportAccount.objects.update(expires_at=now - timedelta(seconds=5), refresh_at=now)
    one_account.ensure_fresh(stale)
    assert stale.is_valid_for(60)
    assert stale.access_token.reveal() == "a.one.2"


def no_thread(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let every thread of ours fail to start, from this number on."""
    start, started = threading.Thread.start, []

    def start_some(thread: threading.Thread) -> None:
        if thread.name.startswith("ontraport-"):
            started.append(thread)
            if len(started) >= number:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)


def test_without_a_thread_to_be_had_the_lease_is_given_back(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = linked("one")
    no_thread(monkeypatch, 1)
    with pytest.raises(OntraportUnavailable) as raised:
        one_account.refresh(account)
    assert (raised.value.code, read(account).lease_until, strict.requests) == ("no_thread", None, 0)


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, RuntimeError], ids=["interrupted", "no thread"])
def test_inside_a_transaction_no_note_is_left_on_a_token_that_was_not_sent(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    account = linked("one")

    def refuse(*args: Any) -> None:
        assert list(spent_tokens.uids()) == [account.uid]
        raise error

    @transaction.atomic
    def view() -> None:
        OntraportAccount.objects.update(label="changed")
        one_account.refresh(account)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    with pytest.raises((error, OntraportUnavailable)):
        view()
    assert (list(spent_tokens.uids()), read(account).lease_until, strict.requests) == ([], None, 0)


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "not sent"])
def test_who_is_interrupted_while_the_call_is_handed_over_neither_loses_the_answer_nor_the_lease(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    account = linked("one")
    submit = ThreadPoolExecutor.submit

    def interrupted(pool: ThreadPoolExecutor, *args: Any) -> None:
        if is_sent:
            submit(pool, *args).result()
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        one_account.refresh(account)
    seen = read(account)
    assert (token_of(seen), strict.requests) == (("a.one.1", 1) if is_sent else ("a.one.0", 0))
    assert seen.lease_until is None


def test_a_call_that_begins_after_its_lease_was_given_back_sends_nothing(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, submit = linked("one"), ThreadPoolExecutor.submit

    def interrupted(pool: ThreadPoolExecutor, run: Callable[..., None], *args: Any) -> None:
        def run_late() -> None:
            time.sleep(0.3)
            run(*args)

        submit(pool, run_late)
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        one_account.refresh(account)
    assert (strict.requests, read(account).lease_until, token_of(read(account))) == (0, None, "a.one.0")


def fail_to_receive(*args: Any) -> None:
    raise SoftTimeLimitExceeded  # which is raised as it is, unlike other errors of a connection


def test_a_call_that_fails_as_nobody_thought_is_raised(strict: StrictServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been sent, so that the lease stays until it ends."""
    account = linked("one")
    with monkeypatch.context() as broken:
        broken.setattr(socket.socket, "recv_into", fail_to_receive)
        with pytest.raises(SoftTimeLimitExceeded):
            one_account.refresh(account)
    assert read(account).lease_until is not None


class Twice(BaseException):
    """Raised once more while what was sent is waited for."""


@pytest.mark.parametrize("is_batch", [True, False], ids=["a batch", "one account"])
def test_who_is_interrupted_twice_loses_no_answer(strict: StrictServer, *, is_batch: bool) -> None:
    """Real signals, the second of which comes while the answer is waited for."""
    strict.behave(hold="after")
    account = linked("one")
    numbers = iter([SoftTimeLimitExceeded, Twice])

    def interrupt(number: int, frame: object) -> None:
        raise next(numbers)

    def interrupt_twice() -> None:
        strict.wait_for_held(1)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGALRM)
            time.sleep(0.2)
        strict.release()

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with in_thread(interrupt_twice), pytest.raises(SoftTimeLimitExceeded):
            batches.refresh_batch([account.pk]) if is_batch else one_account.refresh(account)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (token_of(read(account)), strict.requests, next(numbers, None)) == ("a.one.1", 1, None)


@pytest.mark.parametrize("interruption", [SoftTimeLimitExceeded, KeyboardInterrupt])
@pytest.mark.parametrize(("how", "times"), [("alone", 1), ("batch", 1), ("batch", 2)])
def test_an_interruption_at_the_moment_an_answer_is_taken_loses_nothing(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException], how: str, times: int
) -> None:
    accounts = [linked(f"g{number}") for number in range(4 if how == "batch" else 1)]
    result, interruptions = Future.result, iter(range(times))

    def interrupt(*event: object) -> None:
        raise interruption

    def interrupted(future: Future[Any], *args: Any) -> Any:
        value = result(future, *args)
        if next(interruptions, None) is not None:
            signal.raise_signal(signal.SIGALRM)
        return value

    before = signal.signal(signal.SIGALRM, interrupt)
    monkeypatch.setattr(Future, "result", interrupted)
    try:
        with pytest.raises(interruption):
            batches.refresh_batch([a.pk for a in accounts]) if how == "batch" else one_account.refresh(accounts[0])
    finally:
        signal.signal(signal.SIGALRM, before)
    rows = list(OntraportAccount.objects.filter(lease_until=None))
    assert sum(token_of(row).endswith(".1") for row in rows) == strict.requests > 0
    assert len(rows) == len(accounts)


def test_a_batch_that_finds_no_more_threads_loses_nothing(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.behave(delay=0.1)
    pks = many(4)
    no_thread(monkeypatch, 2)
    with pytest.raises(RuntimeError):
        batches.refresh_batch(pks)
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()
    assert sum(token.endswith(".1") for token in tokens(pks)) == strict.requests


def test_a_call_that_fails_as_nobody_thought_ends_no_batch(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pks = many(6)
    with monkeypatch.context() as broken:
        broken.setattr(socket.socket, "recv_into", fail_to_receive)
        assert batches.refresh_batch(pks) == {}
    assert caplog.text.count("may have been sent") == 6
    assert not OntraportAccount.objects.filter(lease_until=None).exists()


class Timeout(BaseException):
    """A timeout that is a ``BaseException``, as gevent's is."""


@pytest.mark.parametrize("interruption", [SoftTimeLimitExceeded, Timeout])
def test_an_interruption_goes_on_and_takes_no_frame_with_secrets_along(
    strict: StrictServer, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    def interrupted(*args: Any) -> None:
        raise interruption

    monkeypatch.setattr(socket.socket, "recv_into", interrupted)
    with client_settings.new_transport() as sender, pytest.raises(interruption) as raised:
        sender.send("GET", f"{strict.url}/token", headers={"Api-Key": Secret("canary-of-a-key")})
    assert "_attempt" not in [entry.name for entry in raised.traceback]
    assert raised.value.__context__ is None


def test_a_person_tries_so_many_keys_in_ten_minutes(client: Client) -> None:
    """Each try is a call from this site's address, and tells whether somebody's key is right."""
    client.force_login(person("mallory"))
    with Answering(lambda asked: Reply(status=401)) as server, override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"):
        pairs = [
            {"app_id": f"an-app-id-{number}", "api_key": f"an-api-key-{number}"}
            for number in range(limits.MAX_KEY_PAIRS + 5)
        ]
        last = [client.post(reverse("ontraport_connect:connect_key"), pair) for pair in pairs][-1]
    assert (len(server.asked), last.status_code) == (limits.MAX_KEY_PAIRS, 422)
    assert "Too many attempts" in last.content.decode()
