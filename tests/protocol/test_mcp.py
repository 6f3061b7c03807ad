"""Conversations with MCP servers, and what is remembered of the servers."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable
from ontraport_connect.protocol import (
    Answer,
    Conversation,
    Session,
    Sessions,
    TimeLimit,
    ask_once,
    mcp,
    mcp_messages,
    mcp_sessions,
    require_mcp,
    send_message,
    shared_transport,
    tool_value,
)
from tests.support.answering import Answering, Asked, Reply, as_json
from tests.support.hostile_server import HostileServer, hostile_server, read_request
from tests.support.mcp_server import HANDSHAKE, MODERN, McpServer, text
from tests.support.sdk_server import sdk_server

CREDENTIALS = {"Authorization": Secret("Bearer canary-token")}
TIMEOUT = (2.0, 2.0)


def ask(url: str, **options: Any) -> Any:
    return tool_value(ask_once(url, CREDENTIALS, "get_account_info", **{"deadlines": TIMEOUT, **options}))


def hold(talk: Any, reply: Any) -> Any:
    answer = None
    while True:
        try:
            answer = reply(talk.send(answer))
        except StopIteration as end:
            return end.value


OPTIONS = [(), ("--json",), ("--stateless",), ("--modern",), ("--modern", "--json")]
COSTS = {(): 3, ("--json",): 3, ("--stateless",): 3, ("--modern",): 3, ("--modern", "--json"): 3}


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_servers_of_the_official_sdk_are_spoken_to(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Two calls: the first opens a session or finds out that there are none, the second is one request."""
    require_mcp()
    sessions, transport = Sessions(), shared_transport(timeout=(5, 5))
    with sdk_server(tmp_path, *options) as server:
        for cost in (COSTS[options], 1):
            before = server.requests()
            conversation = Conversation(sessions, server.url, holder="maya", secrets=CREDENTIALS.values)
            talk = conversation.call_tool("count", {"objectID": "123"})
            assert tool_value(
                hold(talk, lambda message: send_message(transport, server.url, message, CREDENTIALS))
            ) == {"count": 3}
            assert server.requests() - before == cost
        assert len(sessions) == (options in {(), ("--json",)})
        for session in sessions.take_all():
            assert send_message(transport, server.url, mcp_messages.end_of(session), CREDENTIALS).status == 200


def test_arguments_that_a_server_wants_in_headers_too_are_put_there(tmp_path: Path) -> None:
    """The SDK's server refuses the first call; its list of tools says what it misses, and is read once."""
    require_mcp()
    sessions, transport = Sessions(), shared_transport(timeout=(5, 5))
    with sdk_server(tmp_path, "--modern", "--json") as server:
        for region, cost in (("Lagos", 5), ("\u00e9", 1)):
            before = server.requests()
            talk = Conversation(sessions, server.url, holder="maya").call_tool("locate", {"region": region})
            result = hold(talk, lambda message: send_message(transport, server.url, message, CREDENTIALS))
            assert tool_value(result) == {"result": region}
            assert server.requests() - before == cost


def test_one_question_ends_its_session() -> None:
    with McpServer(tool=lambda params: text({"id": 7})) as server:
        assert ask(server.url) == {"id": 7}
        assert (server.opened, server.ended, server.open) == (1, ["session-1"], {})


def test_one_question_that_is_refused_ends_its_session_as_far_as_the_server_is_there() -> None:
    with McpServer(tool=lambda params: Reply(status=500)) as server:
        with pytest.raises(OntraportUnavailable, match="500"):
            ask(server.url)
        assert server.ended == ["session-1"]

        def vanish(params: dict[str, Any]) -> Any:
            server.is_deaf = True
            return text("bye")

        server.tool = vanish
        assert ask(server.url) == "bye"


def test_a_server_that_asks_to_slow_down_says_for_how_long() -> None:
    with (
        Answering(lambda asked: Reply(status=429, headers={"Retry-After": "7"})) as server,
        pytest.raises(OntraportUnavailable) as raised,
    ):
        ask(server.url)
    assert (raised.value.code, raised.value.retry_after) == ("rate_limited", 7)


def handshake(asked: Asked, result: object, **headers: str) -> Reply:
    sent = json.loads(asked.body or b"{}")
    if sent.get("method") == "initialize":
        reply = as_json({"jsonrpc": "2.0", "id": sent["id"], "result": result})
        return replace(reply, headers={**reply.headers, **headers})
    return Reply(status=202)


AGREED = {"protocolVersion": HANDSHAKE, "capabilities": {}, "serverInfo": {"name": "test", "version": "1"}}


@pytest.mark.parametrize(
    ("result", "headers"),
    [
        ({}, {}),
        ({"protocolVersion": 7}, {}),
        ({"protocolVersion": "1999-01-01"}, {}),
        ([], {}),
        (AGREED, {"Mcp-Session-Id": "with a space"}),
    ],
)
def test_an_agreement_that_is_none(result: object, headers: dict[str, str]) -> None:
    with (
        Answering(lambda asked: handshake(asked, result, **headers)) as server,
        pytest.raises(OntraportUnavailable) as raised,
    ):
        ask(server.url)
    assert (raised.value.code, len(server.asked)) == ("nonsense", 1)


@pytest.mark.parametrize(
    "found",
    [{"supportedVersions": "2026-07-28"}, {"supportedVersions": ["2999-01-01", 7]}, [], {"supportedVersions": []}],
)
def test_a_server_that_does_not_say_which_protocol_it_speaks_keeps_its_refusal(found: object) -> None:
    def refuse(asked: Asked) -> Reply:
        sent = json.loads(asked.body)
        if sent["method"] == "initialize":
            return Reply(status=405)
        return as_json({"jsonrpc": "2.0", "id": sent["id"], "result": found})

    with Answering(refuse) as server, pytest.raises(OntraportRejected) as raised:
        ask(server.url)
    assert (raised.value.code, len(server.asked)) == ("http_405", 2)


def test_a_result_that_asks_for_more_is_none_that_can_be_used() -> None:
    with (
        McpServer(protocols=(MODERN,), tool=lambda params: {"resultType": "input_required"}) as server,
        pytest.raises(OntraportUnavailable) as raised,
    ):
        ask(server.url)
    assert raised.value.code == "nonsense"


def test_a_refusal_that_repeats_the_credentials_is_not_kept() -> None:
    with (
        McpServer(tool=lambda params: Reply(status=403, body=b"Who is Bearer canary-token?")) as server,
        pytest.raises(OntraportRejected) as raised,
    ):
        ask(server.url)
    assert (raised.value.code, raised.value.said) == ("http_403", "")


ECHO = {"canary": "canary-token"}
ECHOES: list[Any] = [
    Reply(status=400, body=json.dumps(ECHO).encode()),
    Reply(status=403, body=b"canary-token"),
    Reply(status=500, body=b"canary-token"),
    Reply(body=json.dumps(ECHO).encode()),
    {"content": "canary-token"},
    text(ECHO, is_error=True),
    {"content": [], "resultType": "canary-token"},
]


@pytest.mark.parametrize("answer", ECHOES)
def test_no_frame_shows_the_credentials_that_a_server_repeats_or_the_session(answer: Any) -> None:
    with McpServer(tool=lambda params: answer) as server, pytest.raises(OntraportError) as raised:
        ask(server.url)
    frames = [frame.locals for frame in raised.traceback if "ontraport_connect" in str(frame.path)]
    assert frames
    assert "canary" not in repr(frames)
    assert "session-1" not in repr(frames)


def test_no_frame_shows_the_credentials_that_an_agreement_repeats() -> None:
    agreed = {"protocolVersion": "canary-token"}
    with Answering(lambda asked: handshake(asked, agreed)) as server, pytest.raises(OntraportError) as raised:
        ask(server.url)
    frames = [frame.locals for frame in raised.traceback if "ontraport_connect" in str(frame.path)]
    assert "canary" not in repr(frames)


def stream(body: bytes, *, ends: bool = True) -> Any:
    """Return a behaviour that opens a session without an id, and answers the call with this event stream, which may stay open."""

    def serve(server: HostileServer, connection: socket.socket, request: bytes) -> None:
        message = json.loads(request.partition(b"\r\n\r\n")[2])
        if message["method"] != "tools/call":
            reply = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": AGREED}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(reply), reply))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        filled = body.replace(b"ID", str(message["id"]).encode())
        for piece in (filled[:30], filled[30:]):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b"")
        if ends:
            connection.sendall(b"0\r\n\r\n")
        else:
            server.closing.wait(20)

    def behave(server: HostileServer, connection: socket.socket) -> None:
        request = server.requests[-1]
        while request:
            serve(server, connection, request)
            request = read_request(connection)

    return behave


RESULT = b'{"jsonrpc": "2.0", "id": ID, "result": {"content": [{"type": "text", "text": "7"}]}}'
OTHERS = b'data: {"jsonrpc": "2.0", "id": 99, "result": {}}\n\n: ping\n\ndata: [\n\nid: 3\ndata\n\n'


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_of_an_event_stream_the_response_to_the_request_counts(line: bytes) -> None:
    body = OTHERS + b"event: message\ndata: " + RESULT.replace(b", ", b",\ndata: ") + b"\n\n" + OTHERS
    with hostile_server(stream(body.replace(b"\n", line))) as server:
        assert ask(server.url) == 7


@pytest.mark.parametrize(("ends", "connections"), [(True, 1), (False, 2)])
def test_an_event_stream_that_stays_open_is_left_and_its_connection_closed(ends: bool, connections: int) -> None:
    with hostile_server(stream(b"data: " + RESULT + b"\n\n", ends=ends)) as server:
        assert ask(server.url) == 7
        server.behaviour = stream(b"data: " + RESULT + b"\n\n")
        assert ask(server.url) == 7
        assert server.connections == connections


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"data: {}\n\n", "nonsense"), (b": " + b"." * 2000 + b"\n\n", "too_large")],
)
def test_an_event_stream_without_a_response(body: bytes, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "ANSWER_LIMIT", 1000)
    with hostile_server(stream(body)) as server, pytest.raises(OntraportUnavailable) as raised:
        ask(server.url)
    assert raised.value.code == code


def test_an_event_stream_that_says_nothing_ends_at_the_deadline() -> None:
    with hostile_server(stream(b": wait\n\n", ends=False)) as server, pytest.raises(OntraportUnavailable) as raised:
        ask(server.url, deadlines=(0.2, 0.3))
    assert raised.value.code == "timeout"


def test_without_time_left_nothing_is_sent() -> None:
    limit = TimeLimit((0.0, 0.0))
    with pytest.raises(OntraportUnavailable) as raised:
        limit.run(lambda timeout: pytest.fail("sent"))
    assert raised.value.code == "timeout"


def test_servers_that_are_not_used_any_more_are_forgotten() -> None:
    sessions = Sessions()
    first = sessions.server("https://0.example")
    for number in range(mcp_sessions.MOST_SERVERS):
        sessions.server(f"https://{number + 1}.example")
    assert sessions.server("https://0.example") is not first


def test_a_session_is_forgotten_but_not_the_one_that_has_taken_its_place() -> None:
    sessions = Sessions()
    old, new = (Session(url="https://a.example", version=HANDSHAKE) for _ in range(2))
    sessions.keep("maya", old)
    sessions.keep("maya", new)
    sessions.forget("maya", old)
    assert sessions.find("https://a.example", "maya", None) is new
    assert sessions.find("https://a.example", "maya", "another link") is None
    assert sessions.surplus() is None


def test_a_forked_process_begins_without_the_sessions_of_its_parent() -> None:
    """What runs in the child, run here: the coverage of a forked process is not measured."""
    sessions = Sessions()
    sessions.keep("maya", Session(url="https://a.example", version=HANDSHAKE))
    sessions.server("https://a.example").version = HANDSHAKE
    mcp_sessions._start_anew()
    assert (len(sessions), sessions.server("https://a.example").version) == (0, "")


def test_of_two_calls_that_are_told_of_an_ended_session_one_opens_the_next() -> None:
    require_mcp()
    sessions, url, gone = Sessions(), "https://a.example", Answer(status=404, headers={}, body=b"")
    sessions.keep("maya", Session(url=url, version=HANDSHAKE, id=Secret("old")))
    first, second = (Conversation(sessions, url, holder="maya").call_tool("echo", {}) for _ in range(2))
    assert [next(each).headers["Mcp-Session-Id"].reveal() for each in (first, second)] == ["old", "old"]  # type: ignore[union-attr]
    agreed = json.dumps({"jsonrpc": "2.0", "id": first.send(gone).id, "result": AGREED}).encode()  # type: ignore[union-attr]
    first.send(Answer(status=200, headers={"Mcp-Session-Id": "new"}, body=agreed))
    first.send(Answer(status=202, headers={}, body=b""))
    assert second.send(gone).headers["Mcp-Session-Id"].reveal() == "new"  # type: ignore[union-attr]


def test_who_waits_in_vain_for_a_session_opens_one(monkeypatch: pytest.MonkeyPatch) -> None:
    require_mcp()
    sessions = Sessions()

    def begin() -> Any:
        return Conversation(sessions, "https://a.example", holder="maya").call_tool("echo", {})

    first, second = begin(), begin()
    assert next(first).method == "initialize"
    assert next(second) == mcp.LOOK_AGAIN
    assert next(second) == mcp.LOOK_AGAIN
    monkeypatch.setattr(mcp, "OPENED_WITHIN", 0)
    assert next(begin()).method == "initialize"
    first.close()
    assert next(second).method == "initialize"
