"""One request a call: sessions of MCP servers are held, opened anew where they have ended, and nobody else's are used."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection

from ontraport_connect import linking
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.using import mcp_requests
from tests.support.answering import Reply
from tests.support.linked import key_account, person
from tests.support.mcp_server import HANDSHAKE, MODERN, McpServer, rpc_error, text

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


@pytest.fixture
def server() -> Iterator[McpServer]:
    with McpServer() as server, server.settings:
        yield server


def cost(server: McpServer, call: Callable[[], object]) -> int:
    """Return how many HTTP requests a call takes."""
    before = server.requests
    call()
    return server.requests - before


def test_the_first_call_opens_a_session_and_each_that_follows_is_one_request(
    server: McpServer, account: OntraportAccount
) -> None:
    costs = [cost(server, partial(account.mcp, "echo", number=number)) for number in range(5)]
    costs.append(cost(server, account.mcp_tools))
    costs.append(cost(server, lambda: OntraportAccount.objects.get().mcp("echo")))
    assert (costs, server.opened, len(server.open)) == ([3, 1, 1, 1, 1, 1, 1], 1, 1)
    assert [asked.headers.get("Cookie") for asked in server.asked] == [None] * server.requests


def test_a_server_without_sessions_is_asked_for_one_once(account: OntraportAccount) -> None:
    other = key_account(person("tomas"))
    with McpServer(sessions=False) as server, server.settings:
        costs = [cost(server, partial(each.mcp, "echo")) for each in (account, account, other, other)]
    assert costs == [3, 1, 1, 1]
    assert len(mcp_requests.sessions) == 0


UNKNOWN = {
    "404": rpc_error(-32001, "Session not found", status=404),
    "404 without a word": Reply(status=404),
    "400": rpc_error(-32000, "Bad Request: No valid session ID provided", status=400),
    "400 in plain text": Reply(status=400, body=b"Bad Request: No valid session ID provided"),
}


@pytest.mark.parametrize("unknown", UNKNOWN.values(), ids=UNKNOWN)
def test_a_session_that_has_ended_is_opened_anew_and_the_tool_runs_once(
    account: OntraportAccount, unknown: Reply
) -> None:
    with McpServer(unknown=unknown) as server, server.settings:
        account.mcp("echo", number=1)
        server.open.clear()
        assert cost(server, lambda: account.mcp("echo", number=2)) == 4
        assert cost(server, lambda: account.mcp("echo", number=3)) == 1
    assert [each["arguments"]["number"] for each in server.called] == [1, 2, 3]


def test_a_session_is_opened_anew_once_and_not_again_and_again(server: McpServer, account: OntraportAccount) -> None:
    account.mcp("echo")
    server.tool = lambda params: Reply(status=404)
    with pytest.raises(OntraportRejected) as raised:
        cost(server, lambda: account.mcp("echo"))
    assert (raised.value.code, len(server.called), server.opened) == ("http_404", 3, 2)


def test_what_a_server_says_of_the_call_itself_is_no_word_about_the_session(
    server: McpServer, account: OntraportAccount
) -> None:
    account.mcp("echo")

    def refuse(params: dict[str, Any]) -> Reply:
        sent = json.loads(server.asked[-1].body)
        return rpc_error(-32602, "Unknown tool", sent["id"], 400)

    server.tool = refuse
    with pytest.raises(OntraportRejected, match=r"mcp_tools") as raised:
        account.mcp("echo")
    assert (raised.value.code, raised.value.status, raised.value.said) == ("mcp_error", 400, "Unknown tool")
    assert (len(server.called), server.opened) == (2, 1)


def test_a_server_may_want_its_tools_to_be_listed_first_in_each_session(
    server: McpServer, account: OntraportAccount
) -> None:
    """As Ontraport's published server does with the tools of custom objects."""
    answer = server.tool

    def refuse_before_a_list(params: dict[str, Any]) -> Any:
        sent = [json.loads(request.body)["method"] for request in server.asked if request.body]
        if "tools/list" in sent[::-1][: sent[::-1].index("initialize")] and params["name"] == "echo":
            return answer(params)
        return rpc_error(-32602, f"Unknown tool: {params['name']}", json.loads(server.asked[-1].body)["id"])

    server.tool = refuse_before_a_list
    for _ in range(2):
        account.mcp("echo")
    with pytest.raises(OntraportRejected):
        account.mcp("something else")
    assert (len(server.called), server.opened) == (4, 1)
    server.open.clear()
    account.mcp("echo")
    assert (len(server.called), server.opened) == (6, 2)


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_lists_no_tools_is_heard_about_the_call(
    server: McpServer, account: OntraportAccount, status: int
) -> None:
    server.tool = lambda params: rpc_error(-32602, "Tool echo not found", json.loads(server.asked[-1].body)["id"])
    server.listed = Reply(status=status, body=b"Not found")
    with pytest.raises(OntraportRejected) as raised:
        account.mcp("echo")
    assert raised.value.said == "Tool echo not found"


def test_a_tool_that_has_run_is_not_run_again(server: McpServer, account: OntraportAccount) -> None:
    """The official SDK for TypeScript answers so when a result does not fit its schema: afterwards."""
    words = "Output validation error: Tool echo has an output schema but no structured content was provided"
    server.tool = lambda params: rpc_error(-32602, words, json.loads(server.asked[-1].body)["id"])
    with pytest.raises(OntraportRejected) as raised:
        account.mcp("echo", amount=100)
    assert (raised.value.said, len(server.called)) == (words, 1)


def test_a_server_without_sessions_is_asked_for_its_tools_once(account: OntraportAccount) -> None:
    with McpServer(sessions=False) as lean, lean.settings:
        lean.tool = lambda params: rpc_error(-32602, "Unknown tool: echo", json.loads(lean.asked[-1].body)["id"])
        for _ in range(3):
            with pytest.raises(OntraportRejected):
                account.mcp("echo")
        sent = [json.loads(request.body)["method"] for request in lean.asked if request.body]
    assert (sent.count("tools/list"), sent.count("tools/call")) == (1, 4)


def test_a_server_that_knows_the_newer_protocol_only_is_found_out_once(account: OntraportAccount) -> None:
    other = key_account(person("tomas"))
    with McpServer(protocols=(MODERN,)) as server, server.settings:
        costs = [cost(server, partial(each.mcp, "echo", a=1)) for each in (account, account, other)]
        costs.append(cost(server, account.mcp_tools))
        assert account.mcp("echo", a="b") == {"a": "b"}
    assert costs == [3, 1, 1, 1]


def test_a_tool_with_a_name_beyond_ascii_is_called_in_the_newer_protocol(account: OntraportAccount) -> None:
    with McpServer(protocols=(MODERN,)) as server, server.settings, pytest.raises(OntraportUnavailable):
        account.mcp("größe")  # the server compares with the plain name, and fails
    assert {**server.asked[-1].headers}["Mcp-Name"] == "=?base64?Z3LDtsOfZQ==?="


@pytest.mark.parametrize(("before", "after"), [((HANDSHAKE,), (MODERN,)), ((MODERN,), (HANDSHAKE,))])
@pytest.mark.parametrize("sessions", [True, False])
def test_a_server_that_is_replaced_by_one_of_the_other_protocol_is_found_out_anew(
    account: OntraportAccount, before: tuple[str, ...], after: tuple[str, ...], sessions: bool
) -> None:
    with McpServer(protocols=before, sessions=sessions) as server, server.settings:
        account.mcp("echo")
        server.protocols = after
        server.open.clear()
        assert account.mcp("echo", number=2) == {"number": 2}
        assert cost(server, lambda: account.mcp("echo")) == 1


def test_a_server_that_speaks_no_protocol_of_ours_is_said_to_refuse(account: OntraportAccount) -> None:
    with McpServer(protocols=()) as server, server.settings, pytest.raises(OntraportRejected) as raised:
        account.mcp("echo")
    assert (raised.value.code, raised.value.said, server.requests) == ("mcp_error", "Unsupported protocol version", 2)


def test_answers_come_as_event_streams_too(account: OntraportAccount) -> None:
    with McpServer(events=True) as server, server.settings:
        assert [account.mcp("echo", number=number) for number in range(3)] == [{"number": each} for each in range(3)]
        assert server.requests == 5


def test_another_url_is_another_server(server: McpServer, account: OntraportAccount) -> None:
    account.mcp("echo")
    with McpServer() as other, other.settings:
        assert cost(other, lambda: account.mcp("echo")) == 3
    with server.settings:
        assert cost(server, lambda: account.mcp("echo")) == 1


def test_nobody_is_given_the_session_of_somebody_else(server: McpServer, account: OntraportAccount) -> None:
    other = key_account(person("tomas"))
    account.mcp("echo")
    assert cost(server, lambda: other.mcp("echo")) == 3
    moved = OntraportAccount.objects.get(uid=account.uid)
    moved.tenant = "another"
    assert cost(server, lambda: moved.mcp("echo")) == 3


def test_a_link_that_was_made_anew_has_a_session_of_its_own(server: McpServer, account: OntraportAccount) -> None:
    account.mcp("echo")
    OntraportAccount.objects.update(linked_at=account.linked_at + timedelta(seconds=1))
    assert cost(server, lambda: OntraportAccount.objects.get().mcp("echo")) == 3


def test_a_disconnect_ends_the_session(server: McpServer, account: OntraportAccount) -> None:
    other = key_account(person("tomas"))
    other.mcp("echo")
    account.mcp("echo")
    linking.unlink(account)
    assert (server.ended, len(server.open), len(mcp_requests.sessions)) == (["session-2"], 1, 1)


def test_a_disconnect_does_not_wait_again_and_again_for_a_server_that_does_not_end_sessions(
    server: McpServer, account: OntraportAccount
) -> None:
    other = key_account(person("tomas"))
    account.mcp("echo")
    other.mcp("echo")
    server.is_deaf = True
    linking.unlink(account)
    linking.unlink(other)
    assert (len(mcp_requests.sessions), OntraportAccount.objects.count()) == (0, 0)
    assert [asked.method for asked in server.asked[6:]] == ["DELETE"]


def test_sessions_beyond_the_most_and_unused_ones_are_ended(
    server: McpServer, account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [account, key_account(person("tomas")), key_account(person("ada"))]
    monkeypatch.setattr(mcp_requests.sessions, "_most", 2)
    for each in accounts:
        each.mcp("echo")
    assert (server.ended, len(mcp_requests.sessions)) == (["session-1"], 2)
    monkeypatch.setattr(mcp_requests.sessions, "_keep_for", -1)
    accounts[2].mcp("echo")
    accounts[2].mcp("echo")
    assert server.ended == ["session-1", "session-2", "session-3"]


def test_of_many_calls_at_once_one_opens_the_session(server: McpServer, account: OntraportAccount) -> None:
    together = threading.Barrier(8, timeout=20)

    def tool(params: dict[str, Any]) -> Any:
        together.wait()
        return text(params["arguments"])

    server.tool = tool
    rows = [OntraportAccount.objects.get() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(in_a_thread, rows, range(8)))
    assert answers == [{"number": number} for number in range(8)]
    assert (server.opened, server.requests) == (1, 10)


def in_a_thread(account: OntraportAccount, number: int) -> Any:
    try:
        return account.mcp("echo", number=number)
    finally:
        connection.close()
