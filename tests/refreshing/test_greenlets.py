"""Under gevent, event loops that other greenlets run in the same thread lose no answer and end no work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, connections, transaction
from django.test import override_settings

from ontraport_connect.database import in_transaction, one_database, while_waiting
from ontraport_connect.models import OntraportAccount, OntraportSpentToken, one_connection
from ontraport_connect.refreshing import batches, one_account, recovery
from ontraport_connect.refreshing.interruptions import MOST_IN_VAIN, do_what_is_left, renew_connection
from tests.linking.test_nothing_is_revoked_meanwhile import TOKENS, begun, link
from tests.refreshing.test_crashes import let_the_lease_end
from tests.refreshing.test_one_account import in_thread
from tests.refreshing.test_takeover import ROW, locked
from tests.support.accounts import linked, token_of, user_named
from tests.support.hostile_server import answer, hostile_server
from tests.support.servers import Process
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(("how", "number"), [("alone", 1), ("inside", 1), ("batch", 6)])
def test_an_answer_is_saved_while_another_greenlet_runs_an_event_loop(
    strict: StrictServer, child_environ: Callable[..., dict[str, str]], tmp_path: Path, how: str, number: int
) -> None:
    """Django refused to save it, to close the connection, and to open another one."""
    accounts = [linked(f"g{each}") for each in range(number)]
    strict.behave(hold="after")
    environ = child_environ(**strict.settings, ONTRAPORT_REFRESH_CONCURRENCY=2)
    environ = {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}
    start = tmp_path / "start"
    process = Process(
        sys.executable, "-m", "tests.support.green_refresh", how, start, log=tmp_path / "log", environ=environ
    )
    try:
        strict.wait_for_held(1)
        start.touch()
        process.wait_for_line("^The loop runs, and Django refuses others.")
        strict.release()
        with suppress(subprocess.TimeoutExpired):
            process.child.wait(20)
    finally:
        process.stop()
    assert process.output.endswith("Done.\n"), process.output
    assert [token_of(account) for account in accounts] == [f"a.g{each}.1" for each in range(number)]
    uids = [account.uid for account in accounts]
    assert (strict.requests, OntraportSpentToken.objects.filter(account_uid__in=uids).exists()) == (number, False)


@pytest.fixture
def green(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process look as if gevent had patched it."""
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=lambda name: True))


def in_a_loop(step: Callable[[], Any]) -> Any:
    async def run() -> Any:
        return step()

    return asyncio.run(run())


@pytest.mark.usefixtures("green")
@pytest.mark.parametrize("how", ["alone", "inside", "batch"])
def test_whatever_loop_runs_all_is_done_on_the_connection_of_the_thread(strict: StrictServer, how: str) -> None:
    account = linked("one")

    def refresh() -> None:
        if how == "batch":
            batches.refresh_batch([account.pk])
        else:
            one_account.refresh(account)
        assert connections.all(initialized_only=True) == []

    if how == "inside":
        with transaction.atomic():
            OntraportAccount.objects.update(label="changed")
            in_a_loop(refresh)
    else:
        in_a_loop(refresh)
    assert (token_of(account), strict.requests, "DJANGO_ALLOW_ASYNC_UNSAFE" in os.environ) == ("a.one.1", 1, False)


@pytest.mark.usefixtures("green")
def test_what_came_for_a_code_is_saved_in_a_loop_too() -> None:
    maya = user_named("maya")
    with hostile_server() as server:
        server.behaviour = answer(TOKENS, headers="Content-Type: application/json\r\n")
        urls = {f"{name}_endpoint": f"{server.url}/{name}" for name in ("authorization", "token")}
        with override_settings(
            ONTRAPORT_CLIENT_ID="id",
            ONTRAPORT_ENDPOINTS={"issuer": server.url, **urls},
            ONTRAPORT_MCP_URL="http://127.0.0.1:9/",
        ):
            state = begun(maya)
            account = in_a_loop(lambda: link(maya, state))
    assert OntraportAccount.objects.get() == account


@pytest.mark.postgresql
@pytest.mark.usefixtures("green")
def test_an_answer_for_a_row_that_is_held_is_noted_in_a_loop_too(strict: StrictServer) -> None:
    account = linked("one")
    strict.behave(hold="after")
    with in_thread(lambda: in_a_loop(lambda: one_account.refresh(account))) as refreshed:
        strict.wait_for_held(1)
        with locked(ROW, account.pk):
            strict.release()
            refreshed.result(20)
    assert token_of(account) == "a.one.0"
    let_the_lease_end()
    recovery.recover_all()
    assert (token_of(account), strict.requests) == ("a.one.1", 1)


@pytest.mark.usefixtures("green")
def test_a_loop_finds_its_own_connection_again_afterwards() -> None:
    def use() -> None:
        theirs = connections["default"]
        with one_database():
            assert connections["default"] is home
            with one_database():
                assert in_transaction()
        assert connections["default"] is theirs is not home

    with transaction.atomic():
        home = connections["default"]
        in_a_loop(use)


@pytest.mark.usefixtures("green")
def test_the_permission_is_taken_back_while_nothing_is_saved() -> None:
    def use() -> None:
        with one_database():
            assert OntraportAccount.objects.count() == 0
            with while_waiting(), pytest.raises(SynchronousOnlyOperation):
                OntraportAccount.objects.count()
            assert OntraportAccount.objects.count() == 0
        with pytest.raises(SynchronousOnlyOperation):
            OntraportAccount.objects.count()

    in_a_loop(use)


@pytest.mark.usefixtures("green")
def test_a_permission_that_the_site_gave_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with one_database():
        assert OntraportAccount.objects.count() == 0
    assert os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] == "1"


def test_without_greenlets_django_refuses_as_ever() -> None:
    def use() -> None:
        with one_database(), while_waiting(), pytest.raises(SynchronousOnlyOperation):
            OntraportAccount.objects.count()

    in_a_loop(use)


def test_two_who_save_do_not_end_each_others_permission() -> None:
    with one_connection.async_unsafe_allowed():
        with one_connection.async_unsafe_allowed():
            pass
        assert os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] == "true"
    assert "DJANGO_ALLOW_ASYNC_UNSAFE" not in os.environ


def test_a_connection_that_cannot_be_closed_ends_nothing() -> None:
    in_a_loop(renew_connection)
    assert connection.in_atomic_block is False


def test_what_is_raised_each_time_ends_what_is_left() -> None:
    tries = []

    def fail() -> None:
        tries.append(1)
        raise SynchronousOnlyOperation

    raised = do_what_is_left(fail, lambda: True)
    assert (type(raised), len(tries)) == (SynchronousOnlyOperation, MOST_IN_VAIN)
