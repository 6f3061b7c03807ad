"""Writes that survive a rollback of the caller's transaction."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
import requests
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from ontraport_connect import database
from ontraport_connect.conf import conf
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import left_if_locked, one_account
from tests.refreshing.test_one_account import Undone
from tests.support import dialects
from tests.support.accounts import linked, read, token_of
from tests.support.linked import person
from tests.support.servers import wait_until
from tests.support.strict_server import StrictServer


def failing_view(request: HttpRequest) -> HttpResponse:
    OntraportAccount.objects.get().auth()(requests.Request("GET", conf.ONTRAPORT_MCP_URL).prepare())
    raise Undone


urlpatterns = [path("", failing_view)]

pytestmark = pytest.mark.django_db(transaction=True)


def test_outside_a_transaction_the_callers_own_connection_writes() -> None:
    assert database.on_own_connection(threading.get_ident) == threading.get_ident()


@pytest.mark.parametrize(
    ("arguments", "attributes"),
    [
        pytest.param(("canceling statement due to lock timeout",), {"sqlstate": "55P03"}, id="psycopg"),
        pytest.param(("canceling statement due to lock timeout",), {"pgcode": "55P03"}, id="psycopg2"),
        pytest.param(("canceling statement due to statement timeout",), {"sqlstate": "57014"}, id="statement_timeout"),
        pytest.param((1969, "max_statement_time exceeded"), {}, id="max_statement_time"),
        pytest.param((1205, "Lock wait timeout exceeded"), {}, id="mysqlclient"),
        pytest.param((1205, "Lock wait timeout exceeded"), {"sqlstate": "HY000"}, id="PyMySQL"),
    ],
)
def test_each_driver_says_in_its_way_that_a_row_is_locked(
    arguments: tuple[Any, ...], attributes: dict[str, str]
) -> None:
    cause = type("DriverError", (Exception,), attributes)(*arguments)
    error = OperationalError(*arguments)
    error.__cause__ = cause
    assert database.is_lock_timeout(error)


def test_only_what_is_locked_is_left_to_the_next_run() -> None:
    with pytest.raises(OperationalError, match="gone"), left_if_locked("a row"):
        raise OperationalError("gone")


def test_nothing_is_asked_of_a_database_that_is_away() -> None:
    connection.close()
    assert not database.in_transaction()
    assert connections[database.alias()].connection is None


POOLED = """
import django; django.setup()
from concurrent.futures import ThreadPoolExecutor
from django.db import connection, transaction
from ontraport_connect import database

def lock_timeout():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        return cursor.fetchone()[0]

def elsewhere():
    try:
        return lock_timeout()
    finally:
        connection.close()

with transaction.atomic():
    print(lock_timeout(), database.on_own_connection(lock_timeout), end=" ")
    with ThreadPoolExecutor(1) as thread:
        print(thread.submit(elsewhere).result())
connection.close()
connection.close_pool()
"""


@pytest.mark.postgresql
def test_a_connection_goes_back_to_its_pool_as_it_came(child_environ: Any) -> None:
    entry = {name: value for name, value in connection.settings_dict.items() if name != "TEST"}
    pooled = {**entry, "CONN_MAX_AGE": 0, "OPTIONS": {**entry["OPTIONS"], "pool": {"min_size": 2, "max_size": 2}}}
    done = subprocess.run(
        [sys.executable, "-c", POOLED],
        env=child_environ(DATABASES={"default": pooled}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "1s", "0"]


POOL_OF_ONE = """
import django; django.setup()
from django.db import connection, transaction
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, one_account

first, second = OntraportAccount.objects.order_by("pk")
one_account.refresh(first)
print(first.access_token.reveal(), batches.refresh_batch([second.pk]))
try:
    with transaction.atomic():
        one_account.refresh(first)
except OntraportUnavailable as error:
    print(error.code)
one_account.refresh(first)
print(first.access_token.reveal())
connection.close()
connection.close_pool()
"""


@pytest.mark.postgresql
def test_a_pool_of_one_connection_serves_and_inside_a_transaction_nothing_is_sent(
    child_environ: Any, strict: StrictServer
) -> None:
    entry = {name: value for name, value in connection.settings_dict.items() if name != "TEST"}
    pool = {"min_size": 1, "max_size": 1, "timeout": 3}
    pooled = {**entry, "CONN_MAX_AGE": 0, "OPTIONS": {**entry["OPTIONS"], "pool": pool}}
    linked("one")
    linked("two")
    done = subprocess.run(
        [sys.executable, "-c", POOL_OF_ONE],
        env=child_environ(DATABASES={"default": pooled}, **strict.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a.one.1 {'refreshed': 1}", "database", "a.one.2"]
    assert strict.dead == []


@pytest.mark.server_database
def test_inside_one_another_connection_writes_and_is_closed() -> None:
    with transaction.atomic():
        theirs, wait = database.on_own_connection(dialects.own_lock_wait)
        ours, _ = dialects.own_lock_wait()
        assert (theirs != ours, wait) == (True, "1s")
        wait_until(lambda: theirs not in dialects.others(), "the server to notice that the other one has gone")


@pytest.mark.postgresql
def test_a_site_without_autocommit_has_what_was_saved_although_the_connection_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []

    def save() -> None:
        tries.append(1)
        if len(tries) == 1:
            connection.connection.close()
        person("maya")

    with transaction.atomic():
        monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
        database.on_own_connection(lambda: database.persistently(save))
        monkeypatch.undo()
    assert (len(tries), get_user_model().objects.count()) == (2, 1)


@pytest.mark.sqlite
def test_another_thread_has_another_connection_on_sqlite_too() -> None:
    with transaction.atomic():
        assert database.on_own_connection(threading.get_ident) != threading.get_ident()


def test_a_transaction_without_atomic_is_one_too() -> None:
    transaction.set_autocommit(False)
    try:
        assert database.in_transaction()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert not database.in_transaction()


@override_settings(ROOT_URLCONF=__name__)
def test_a_view_that_fails_under_atomic_requests_loses_no_token(strict: StrictServer, client: Client) -> None:
    account = linked("one")
    client.raise_request_exception = False
    options = connections[database.alias()].settings_dict
    try:
        options["ATOMIC_REQUESTS"] = True
        assert client.get("/").status_code == 500
    finally:
        options["ATOMIC_REQUESTS"] = False
    one_account.ensure_fresh(read(account))
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])
    one_account.refresh(read(account))
    assert (token_of(account), strict.dead) == ("a.one.2", [])
