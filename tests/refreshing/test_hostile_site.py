"""Code of the site that raises, and a process that ends, between the moment a refresh token is spent and the moment what came is saved."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.backends.signals import connection_created
from django.db.models.signals import post_save
from django.test import override_settings
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import OntraportAccount, OntraportEvent, Status
from ontraport_connect.refreshing import (
    batches,
    client_settings,
    is_site_refused,
    leases,
    one_account,
    recovery,
    spending,
)
from ontraport_connect.signals import account_refreshed
from tests.refreshing.test_crashes import let_the_lease_end
from tests.refreshing.test_one_account import in_thread
from tests.refreshing.test_rollbacks import change
from tests.refreshing.test_takeover import ROW, locked
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

WAYS = pytest.mark.parametrize("how", ["alone", "batch", "in a transaction"])


class Unruly(BaseException):
    """What gevent's timeout is, for one: no ``Exception``."""


def refresh(accounts: list[OntraportAccount], how: str) -> None:
    if how == "batch":
        batches.refresh_batch([account.pk for account in accounts])
        return
    for account in accounts:
        if how == "alone":
            one_account.refresh(account)
        else:
            with transaction.atomic():
                change(account)
                one_account.refresh(account)


def assert_alive(strict: StrictServer, accounts: list[OntraportAccount]) -> None:
    """No link has ended, and each can be refreshed; what was kept beside its row is taken over."""
    let_the_lease_end()
    recovery.recover_all()
    for account in accounts:
        one_account.refresh(read(account))
    assert strict.dead == []
    assert all(grant.reuses == 0 for grant in strict.endpoint.grants.values())
    assert not OntraportAccount.objects.exclude(status=Status.CONNECTED).exists()


@contextmanager
def wrapped(error: type[BaseException], matches: Callable[[str], bool]) -> Iterator[None]:
    """Let every statement of this connection that ``matches`` raise ``error``, as wrappers of sites do that count or forbid statements."""

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if matches(sql):
            raise error("a wrapper of the site")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse):
        yield


def is_save(sql: str) -> bool:
    return sql.startswith("UPDATE") and "refreshed_at" in sql.split("WHERE", maxsplit=1)[0]


@WAYS
@pytest.mark.parametrize("error", [RuntimeError, MemoryError, DeprecationWarning, Unruly, SystemExit])
def test_a_wrapper_that_refuses_every_save(strict: StrictServer, how: str, error: type[BaseException]) -> None:
    accounts = [linked(f"g{number}") for number in range(4)]
    with wrapped(error, is_save), suppress(Exception, Unruly, SystemExit):
        refresh(accounts, how)
    assert strict.requests
    assert_alive(strict, accounts)


@WAYS
@pytest.mark.parametrize("error", [RuntimeError, Unruly, SystemExit])
def test_a_receiver_that_raises(strict: StrictServer, how: str, error: type[BaseException]) -> None:
    accounts = [linked(f"g{number}") for number in range(8)]

    def receive(**event: object) -> None:
        raise error("a receiver of the site")

    account_refreshed.connect(receive)
    try:
        with suppress(Exception, Unruly, SystemExit):
            refresh(accounts, how)
    finally:
        account_refreshed.disconnect(receive)
    assert_alive(strict, accounts)


@pytest.mark.server_database
def test_a_receiver_that_ends_the_process_at_last_has_been_told_once_of_each_before(strict: StrictServer) -> None:
    accounts = [linked(f"g{number}") for number in range(8)]
    told: list[object] = []

    def receive(account: OntraportAccount, **event: object) -> None:
        told.append(account.pk)
        if len(told) == len(accounts):
            raise SystemExit

    strict.behave(hold="after")
    account_refreshed.connect(receive)
    try:
        with in_thread(lambda: refresh(accounts, "batch")) as batch:
            strict.wait_for_held(len(accounts))
            strict.release()
            with suppress(SystemExit):
                batch.result(20)
    finally:
        account_refreshed.disconnect(receive)
    assert len({*told[:-1]}) == len(told[:-1])


@WAYS
@pytest.mark.parametrize("error", [RuntimeError, Unruly])
def test_a_receiver_of_saved_rows_that_raises(strict: StrictServer, how: str, error: type[BaseException]) -> None:
    accounts = [linked(f"g{number}", failures=1) for number in range(8)]

    def receive(**event: object) -> None:
        raise error("a receiver of the site")

    post_save.connect(receive, sender=OntraportEvent)
    try:
        with suppress(Exception, Unruly):
            refresh(accounts, how)
    finally:
        post_save.disconnect(receive, sender=OntraportEvent)
    assert_alive(strict, accounts)


@contextmanager
def raising_filter(name: str, error: type[BaseException] = RuntimeError) -> Iterator[None]:
    def refuse(record: logging.LogRecord) -> bool:
        raise error("a filter of the site")

    logger = logging.getLogger(name)
    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


@WAYS
@pytest.mark.parametrize("name", ["ontraport_connect", "ontraport_connect.refreshing", "django.dispatch"])
@pytest.mark.parametrize("error", [RuntimeError, Unruly])
def test_a_log_filter_that_raises(strict: StrictServer, how: str, name: str, error: type[BaseException]) -> None:
    """Together with answers that cannot be saved at once, which is told to the log."""
    accounts = [linked(f"g{number}") for number in range(8)]

    def receive(**event: object) -> None:
        raise RuntimeError("a receiver of the site")

    account_refreshed.connect(receive)
    try:
        with wrapped(RuntimeError, is_save), raising_filter(name, error), suppress(Exception, Unruly):
            refresh(accounts, how)
        with raising_filter(name, error), suppress(Exception, Unruly):
            refresh(accounts, how)
    finally:
        account_refreshed.disconnect(receive)
    assert_alive(strict, accounts)


@pytest.mark.server_database
def test_a_log_filter_that_raises_while_a_row_is_locked(strict: StrictServer) -> None:
    accounts = [linked(f"g{number}") for number in range(8)]
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch([account.pk for account in accounts])) as batch:
        strict.wait_for_held(8)
        with raising_filter("ontraport_connect"), locked(ROW, accounts[0].pk):
            strict.release()
            with suppress(RuntimeError):
                batch.result(30)
    strict.behave()
    assert_alive(strict, accounts)


class Raising(SpanProcessor):
    def on_end(self, span: Any) -> None:
        raise RuntimeError("a span processor of the site")


@WAYS
def test_a_span_processor_that_raises(strict: StrictServer, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Raising())
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    accounts = [linked(f"g{number}") for number in range(4)]
    with suppress(Exception):
        refresh(accounts, how)
    assert_alive(strict, accounts)


def test_a_receiver_of_the_history_of_the_site_that_raises_keeps_the_breaker_from_nothing(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(**event: object) -> None:
        raise RuntimeError("a receiver of the site")

    strict.behave(status=401, members={"error": "invalid_client"})
    post_save.connect(receive, sender=OntraportEvent)
    try:
        with pytest.raises(OntraportMisconfigured):
            one_account.refresh(linked("one"))
    finally:
        post_save.disconnect(receive, sender=OntraportEvent)
    assert is_site_refused()
    assert "The history of this site lacks" in caplog.text


class Moody:
    """A database router that answers until something was spent, and raises then."""

    strict: StrictServer

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        if self.strict.requests and self.is_moody:
            raise RuntimeError("a router of the site")
        return None

    is_moody = True


@WAYS
def test_a_router_that_raises_once_a_token_was_spent(strict: StrictServer, how: str) -> None:
    accounts = [linked(f"g{number}") for number in range(4)]
    moody = Moody()
    moody.strict = strict
    with override_settings(DATABASE_ROUTERS=[moody]), suppress(RuntimeError):
        refresh(accounts, how)
    assert strict.requests
    assert_alive(strict, accounts)


class OfThisThread(threading.local):
    """A database router that knows the database from the request, and so in the request's own thread only."""

    database = "a database that is not there"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return self.database


@WAYS
def test_a_router_that_knows_the_database_in_the_callers_thread_only(strict: StrictServer, how: str) -> None:
    accounts = [linked(f"g{number}") for number in range(4)]
    router = OfThisThread()
    router.database = DEFAULT_DB_ALIAS
    with override_settings(DATABASE_ROUTERS=[router]):
        refresh(accounts, how)
        assert [token_of(account) for account in accounts] == [f"a.g{number}.1" for number in range(4)]


def test_a_receiver_reaches_the_database_that_its_routers_name(strict: StrictServer) -> None:
    router, seen = OfThisThread(), list[str]()
    router.database = DEFAULT_DB_ALIAS

    def receive(**event: object) -> None:
        router.database = "another customer's"
        seen.append(alias())
        router.database = DEFAULT_DB_ALIAS

    account_refreshed.connect(receive)
    try:
        with override_settings(DATABASE_ROUTERS=[router]):
            refresh([linked("one")], "alone")
    finally:
        account_refreshed.disconnect(receive)
    assert seen == ["another customer's"]


@contextmanager
def wrapped_everywhere(matches: Callable[[str], bool]) -> Iterator[None]:
    """Let what ``matches`` fail on every connection, also on those that are made from now on."""

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if matches(sql):
            raise RuntimeError("a wrapper of the site")
        return execute(sql, *args)

    def watch(connection: Any, **event: object) -> None:
        connection.execute_wrappers.append(refuse)

    connection_created.connect(watch)
    try:
        with connection.execute_wrapper(refuse):
            yield
    finally:
        connection_created.disconnect(watch)
        connection.execute_wrappers = [each for each in connection.execute_wrappers if each is not refuse]


@pytest.mark.parametrize("how", ["alone", "batch"])
def test_a_wrapper_on_every_connection_leaves_what_came_in_notes(strict: StrictServer, how: str) -> None:
    accounts = [linked(f"g{number}") for number in range(3)]
    with wrapped_everywhere(is_save), suppress(RuntimeError):
        refresh(accounts, how)
    assert_alive(strict, accounts)


def test_leases_that_cannot_be_given_back_hold_up_none_of_the_others(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = [linked(f"g{number}") for number in range(8)]
    saves = iter([SystemExit])

    def gives_back(sql: str) -> bool:
        return (
            sql.startswith("UPDATE") and "lease_until" in sql and "refresh_at" not in sql.split("WHERE", maxsplit=1)[0]
        )

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if strict.requests and gives_back(sql):
            raise RuntimeError("a wrapper of the site")
        if is_save(sql) and (interruption := next(saves, None)) is not None:
            raise interruption
        return execute(sql, *args)

    with (
        override_settings(ONTRAPORT_REFRESH_CONCURRENCY=4),
        connection.execute_wrapper(refuse),
        pytest.raises(SystemExit),
    ):
        refresh(accounts, "batch")
    assert "could not be given back" in caplog.text
    assert_alive(strict, accounts)


class RaisingAtOnce(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("a span processor of the site")


def test_a_span_that_cannot_be_started_is_left_out(strict: StrictServer, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    provider.add_span_processor(RaisingAtOnce())
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    account = linked("one")
    one_account.refresh(account)
    assert token_of(account) == "a.one.1"


class FailingPath(os.PathLike[str]):
    def __fspath__(self) -> str:
        return "/ca.pem"

    def __str__(self) -> str:
        raise RuntimeError("a path of the site")


def test_what_fails_before_anything_is_sent_gives_the_lease_back(strict: StrictServer) -> None:
    account = linked("one")
    with override_settings(ONTRAPORT_CA_BUNDLE=FailingPath()), pytest.raises(RuntimeError, match="path"):
        one_account.refresh(account)
    assert (strict.requests, read(account).lease_until) == (0, None)


def test_what_code_of_the_site_computes_may_fail_before_anything_is_sent(strict: StrictServer) -> None:
    def fail() -> str:
        raise RuntimeError("a secret of the site")

    def use_up() -> str:
        raise MemoryError

    account = linked("one")
    (lease,) = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    lease.account.refresh_token = Secret(fail)
    with client_settings.new_transport() as transport:
        outcome = spending.call(lease, transport)
        lease.account.refresh_token = Secret(use_up)
        with pytest.raises(MemoryError):
            spending.call(lease, transport)
    assert isinstance(outcome, OntraportMisconfigured)
    assert strict.requests == 0


def test_a_wrapper_that_refuses_to_note_a_failure_ends_nothing(strict: StrictServer) -> None:
    account = linked("one")
    strict.behave(status=500)

    def puts_off(sql: str) -> bool:
        return sql.startswith("UPDATE") and "last_error" in sql

    with wrapped(RuntimeError, puts_off), pytest.raises(RuntimeError):
        one_account.refresh(account)
    strict.behave()
    assert_alive(strict, [account])
