"""Sessions, connections and threads of MCP calls: in event loops, in forked processes, at the end of a process, and after many calls."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from celery import Celery
from celery.signals import worker_process_shutdown
from django.db import connection
from django.test import override_settings

from ontraport_connect import tasks  # noqa: F401  # what Celery says is heard there
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import close_connections
from ontraport_connect.using import mcp_requests, steps
from tests.support.linked import key_account, person
from tests.support.mcp_server import McpServer, text
from tests.support.servers import Valkey, wait_until
from tests.support.workers import worker

pytestmark = pytest.mark.django_db(transaction=True)

MANY = int(os.environ.get("TEST_MCP_CALLS", "150"))
"""Calls after which nothing may be left behind. Set it to 10,000 for a thorough run."""


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


@pytest.fixture
def server() -> Iterator[McpServer]:
    with McpServer() as server, server.settings:
        yield server


def in_a_loop(main: Callable[[], Any]) -> Any:
    """Run async code. What it does with the database is done in this thread."""

    async def run() -> Any:
        return await main()

    return async_to_sync(run)()


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20)


def test_ten_calls_at_once_are_under_way_together(server: McpServer, account: OntraportAccount) -> None:
    """The server answers none of them before it has all, so that one after the other they would never end."""
    together = threading.Barrier(10, timeout=20)

    def tool(params: dict[str, Any]) -> Any:
        together.wait()
        return text(params["arguments"]["number"])

    async def ten() -> list[Any]:
        return await asyncio.gather(*(account.amcp("echo", number=number) for number in range(10)))

    server.tool = tool
    assert in_a_loop(ten) == list(range(10))
    assert (server.opened, server.requests) == (1, 12)


def test_the_session_outlives_the_event_loop(server: McpServer, account: OntraportAccount) -> None:
    for number in range(3):
        assert in_a_loop(lambda: account.amcp("echo", number=number)) == {"number": number}  # noqa: B023
    assert account.mcp("echo") == {}
    assert (server.opened, server.requests) == (1, 6)
    assert [tool.name for tool in in_a_loop(account.amcp_tools)] == ["echo"]


def test_a_call_that_is_cancelled_leaves_no_thread_behind_when_its_answer_has_come(
    server: McpServer, account: OntraportAccount
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def tool(params: dict[str, Any]) -> Any:
        asked.set()
        answered.wait(20)
        return text("too late")

    async def give_up() -> None:
        call = asyncio.create_task(account.amcp("echo"))
        await until(asked)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        answered.set()
        for thread in threading.enumerate():
            if thread.name == "ontraport-call":
                await asyncio.to_thread(thread.join, 20)

    server.tool = tool
    in_a_loop(give_up)
    assert "ontraport-call" not in {thread.name for thread in threading.enumerate()}


def test_a_result_for_a_loop_that_is_closed_is_dropped() -> None:
    begun, ended = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        ended.wait(20)

    async def leave() -> None:
        call = asyncio.get_running_loop().create_task(steps.in_thread(wait))
        await until(begun)
        assert not call.done()

    asyncio.run(leave())
    (thread,) = [each for each in threading.enumerate() if each.name == "ontraport-call"]
    ended.set()
    thread.join(20)
    assert not thread.is_alive()


def test_without_a_thread_to_be_had_it_is_said(
    server: McpServer, account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def no_thread(thread: threading.Thread) -> None:
        if thread.name == "ontraport-call":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(OntraportUnavailable) as raised:
        in_a_loop(lambda: account.amcp("echo"))
    assert (raised.value.code, raised.value.retry_after, raised.value.outcome_unknown) == ("no_thread", 5.0, False)


def call_in_child(account: OntraportAccount) -> tuple[Any, int]:
    connection.close()
    held = len(mcp_requests.sessions)
    return account.mcp("echo", pid=os.getpid()), held


def test_a_forked_process_opens_sessions_of_its_own_and_ends_none_of_its_parents(
    server: McpServer, account: OntraportAccount
) -> None:
    account.mcp("echo")
    connection.close()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        answer, held = pool.apply(call_in_child, (account,))
        pool.close()
        pool.join()
    assert (answer["pid"] == os.getpid(), held, server.opened) == (False, 0, 2)
    assert "session-1" in server.open
    account.mcp("echo")
    assert server.opened == 2


PROCESS = """
import threading, django
django.setup()
from ontraport_connect.models import OntraportAccount
account = OntraportAccount.objects.get()
print(account.mcp("echo", number=1), account.mcp("echo", number=2), threading.active_count())
"""


@pytest.mark.parametrize("first", ["", "from gevent import monkey; monkey.patch_all()"], ids=["threads", "gevent"])
def test_a_process_ends_its_sessions_when_it_ends(
    server: McpServer, account: OntraportAccount, child_environ: Any, first: str
) -> None:
    environ = {
        name: value
        for name, value in child_environ(ONTRAPORT_MCP_URL=server.url).items()
        if not (first and name.startswith("COVERAGE_"))
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", first + PROCESS],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("{'number': 1} {'number': 2} 1\n", "", 0)
    assert (server.ended, server.open, server.requests) == (["session-1"], {}, 5)


def test_the_end_of_the_process_waits_for_no_server_for_long(
    server: McpServer, account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_account(person("tomas")).mcp("echo")
    account.mcp("echo")
    server.is_deaf = True
    mcp_requests.end_all()
    assert [asked.method for asked in server.asked[6:]] == ["DELETE"]
    server.is_deaf = False
    account.mcp("echo")
    monkeypatch.setattr(mcp_requests, "EXIT_WITHIN", 0)
    mcp_requests.end_all()
    assert (server.ended, len(mcp_requests.sessions)) == ([], 0)


def test_a_surplus_session_is_left_to_its_server_where_the_limit_has_no_room(
    account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    with McpServer() as server, override_settings(ONTRAPORT_MCP_URL=server.url, ONTRAPORT_RATE_LIMIT=(3, 600)):
        monkeypatch.setattr(mcp_requests.sessions, "_keep_for", -1)
        account.mcp("echo")
    assert (server.requests, server.ended, len(mcp_requests.sessions)) == (3, [], 0)


def test_the_processes_of_a_worker_end_their_sessions_when_they_are_replaced(
    server: McpServer, account: OntraportAccount, child_environ: Any, valkey: Valkey, tmp_path: Path
) -> None:
    environ = child_environ(
        ONTRAPORT_MCP_URL=server.url, CELERY_BROKER_URL=valkey.url, CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP=True
    )
    options = ("--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1")
    with worker(environ, tmp_path / "log", *options, "--include", "tests.support.calling_tasks"):
        with Celery(broker=valkey.url, set_as_current=False) as app:
            for _ in range(3):
                app.send_task("tests.support.calling_tasks.call_a_tool", [account.pk])
        wait_until(lambda: len(server.ended) == 3, "three processes to end", timeout=60)
    assert (len(server.called), server.open) == (3, {})
    wait_until(lambda: not server.connections, "all connections to be closed")


def test_what_celery_says_before_it_replaces_a_process_ends_its_sessions(
    server: McpServer, account: OntraportAccount
) -> None:
    """The same in this process: those of a worker end in a way that measures no coverage."""
    account.mcp("echo")
    worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
    assert (server.ended, server.open) == (["session-1"], {})


@override_settings(ONTRAPORT_RATE_LIMIT=(1000, 0.01))
def test_after_many_calls_nothing_is_left_behind(account: OntraportAccount) -> None:
    """Neither threads nor connections nor sessions, of calls one after the other, in loops, or failed."""
    with McpServer() as server, override_settings(ONTRAPORT_MCP_URL=server.url):
        threads = threading.active_count()

        async def ten() -> None:
            await asyncio.gather(*(account.amcp("echo") for _ in range(10)))

        for turn in range(MANY // 15):
            for _ in range(4):
                account.mcp("echo")
            server.tool = lambda params: text("no", is_error=True)
            with pytest.raises(Exception, match="reported an error"):
                account.mcp("echo")
            server.tool = lambda params: text("yes")
            in_a_loop(ten)
            if turn % 3 == 1:
                server.open.clear()
        assert len(server.called) == MANY // 15 * 15
        assert (len(mcp_requests.sessions), server.connections <= 10) == (1, True)
        mcp_requests.end_all()
        close_connections()
        wait_until(lambda: not server.connections and threading.active_count() <= threads, "all to be closed")
        assert server.open == {}
