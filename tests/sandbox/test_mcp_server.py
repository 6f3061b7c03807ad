"""What MCP servers differ in: sessions, streams, versions, results, key forms, and tools that want to be listed. Each is a switch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ontraport_connect.sandbox import ACCOUNTS, Request, StandIn
from tests.support.stand_in import KEYS, Caller, Clock

AGENCY = {"api-appid": ACCOUNTS["agency"].app_id, "api-key": ACCOUNTS["agency"].api_key}


def opened(caller: Caller, **headers: str) -> dict[str, str]:
    """Open a session, and return the header that names it."""
    reply = caller.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}, headers)
    assert reply.status == 200
    return {"mcp-session-id": reply.headers["Mcp-Session-Id"]}


def sent(stand_in: StandIn, method: str, headers: dict[str, str]) -> Any:
    return stand_in.mcp(Request(method=method, path="/", headers={**KEYS, **headers}))


def test_without_sessions_none_is_given_and_none_is_asked_for(caller: Caller, stand_in: StandIn) -> None:
    reply = caller.post({"id": 1, "method": "initialize"})
    assert "Mcp-Session-Id" not in reply.headers
    assert caller.rpc("ping", {"mcp-session-id": "any"})["result"] == {}
    assert sent(stand_in, "DELETE", {}).status == 405


@pytest.mark.parametrize("unknown", [404, 400])
def test_a_required_session(caller: Caller, stand_in: StandIn, clock: Clock, unknown: int) -> None:
    stand_in.switches.change({"mcp_sessions": "required", "mcp_unknown_session": unknown, "mcp_session_idle": 60})
    session = opened(caller)
    assert caller.rpc("ping", session)["result"] == {}
    without = caller.post({"id": 1, "method": "ping"})
    assert (without.status, json.loads(without.body)["error"]["code"]) == (400, -32000)
    others = {"another": {"mcp-session-id": "unknown"}, "other keys": {**session, **AGENCY}}
    assert [caller.post({"id": 1, "method": "ping"}, headers).status for headers in others.values()] == [unknown] * 2
    clock.now += 59
    assert caller.rpc("ping", session)["result"] == {}
    clock.now += 61
    assert caller.post({"id": 1, "method": "ping"}, session).status == unknown


def test_a_session_that_was_ended_is_unknown(caller: Caller, stand_in: StandIn) -> None:
    stand_in.switches.change({"mcp_sessions": "offered"})
    session = opened(caller)
    assert caller.rpc("ping")["result"] == {}
    assert sent(stand_in, "DELETE", session).status == 200
    assert caller.post({"id": 1, "method": "ping"}, session).status == 404
    again = opened(caller)
    stand_in.reset()
    stand_in.switches.change({"mcp_sessions": "offered"})
    assert caller.post({"id": 1, "method": "ping"}, again).status == 404


def test_a_stream_is_offered_for_some_seconds(stand_in: StandIn) -> None:
    assert sent(stand_in, "GET", {}).status == 405
    stand_in.switches.change({"mcp_stream": 2.5})
    reply = sent(stand_in, "GET", {})
    assert (reply.status, reply.content_type, reply.stream) == (200, "text/event-stream", 2.5)


@pytest.mark.parametrize(
    ("versions", "asked", "agreed"),
    [
        ("all", "2024-11-05", "2024-11-05"),
        ("all", "1999-01-01", "2025-11-25"),
        ("old", "2025-11-25", "2025-03-26"),
        ("new", "2025-03-26", "2025-11-25"),
    ],
)
def test_a_version_is_agreed_on(caller: Caller, stand_in: StandIn, versions: str, asked: str, agreed: str) -> None:
    stand_in.switches.change({"mcp_versions": versions})
    assert caller.rpc("initialize", protocolVersion=asked)["result"]["protocolVersion"] == agreed
    assert caller.rpc("ping", {"mcp-protocol-version": agreed})["result"] == {}
    refused = caller.post({"id": 1, "method": "ping"}, {"mcp-protocol-version": "1999-01-01"})
    assert (refused.status, b"Unsupported protocol version" in refused.body) == (400, True)


def test_results_may_be_text_only(caller: Caller, stand_in: StandIn) -> None:
    stand_in.switches.change({"mcp_results": "text"})
    result = caller.rpc("tools/call", name="count_objects")["result"]
    assert result == {"content": [{"type": "text", "text": '{"count": 21}'}], "isError": False}


def test_failures_may_come_inside_results_the_rate_limit_too(caller: Caller, stand_in: StandIn) -> None:
    stand_in.switches.change({"mcp_errors_in_results": True})
    assert json.loads(caller.failure("get_objects", objectID=99))["code"] == 501
    stand_in.switches.change({"rate_limit": 1})
    assert json.loads(caller.failure("count_objects")) == {"code": 429, "message": "Rate limit exceeded."}
    assert [caller.post(body).status for body in ({"id": 1, "method": "ping"}, b"[", b"[]")] == [429] * 3
    assert caller.refusal("GET", "Contacts") == (429, "Rate limit exceeded.")


def test_over_the_limit_comes_a_429_without_retry_after(caller: Caller, stand_in: StandIn, clock: Clock) -> None:
    stand_in.switches.change({"rate_limit": 1})
    assert caller.rpc("ping")["result"] == {}
    reply = caller.post({"id": 1, "method": "ping"})
    assert (reply.status, reply.headers["X-Rate-Limit-Remaining"], reply.headers["X-Rate-Limit-Reset"]) == (
        429,
        "0",
        "60",
    )
    clock.now += 60
    assert caller.rpc("ping")["result"] == {}


def test_tools_may_want_to_be_listed_first(caller: Caller, stand_in: StandIn) -> None:
    stand_in.switches.change({"mcp_list_first": True})
    assert caller.rpc("tools/call", name="count_objects")["error"]["code"] == -32602
    caller.rpc("tools/list")
    assert caller.tool("count_objects") == {"count": 21}


BEARER = {"authorization": f"Bearer {KEYS['api-appid']}:{KEYS['api-key']}"}


@pytest.mark.parametrize(
    ("forms", "headers", "status"),
    [
        ("both", KEYS, 200),
        ("both", BEARER, 200),
        ("headers", KEYS, 200),
        ("headers", BEARER, 401),
        ("bearer", KEYS, 401),
        ("bearer", BEARER, 200),
        ("bearer", {"authorization": "Bearer token-of-agency"}, 200),
        ("both", {"authorization": "Bearer unknown"}, 401),
        ("both", {}, 401),
    ],
)
def test_key_forms(stand_in: StandIn, forms: str, headers: dict[str, str], status: int) -> None:
    stand_in.switches.change({"mcp_keys": forms})
    body = json.dumps({"id": 1, "method": "ping"}).encode()
    reply = stand_in.mcp(Request(method="POST", path="/", headers=headers, body=body))
    assert reply.status == status
    assert ("WWW-Authenticate" in reply.headers) == (status == 401)


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"[" * 100_000, 400, -32700),
        ([], 400, -32600),
        ({"id": 1}, 400, -32600),
        ({"id": 1, "method": "nonsense", "params": []}, 200, -32601),
        ({"id": 1, "method": "tools/call", "params": {"name": "nonsense"}}, 200, -32602),
        ({"id": 1, "method": "tools/call", "params": {"name": "get_objects", "arguments": [1]}}, 200, -32602),
        ({"id": 1, "method": "tools/call", "params": {"name": "get_objects", "arguments": []}}, 200, -32602),
        ({"id": 1, "method": "tools/list", "params": {"cursor": "of nobody"}}, 200, -32602),
        ({"method": "initialize"}, 400, -32600),
        ({"id": None, "method": "ping"}, 400, -32600),
        ({"id": True, "method": "ping"}, 400, -32600),
        ({"id": {"a": 1}, "method": "ping"}, 400, -32600),
    ],
)
def test_what_is_no_call_is_refused(caller: Caller, message: Any, status: int, code: int) -> None:
    reply = caller.post(message)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (status, code)


def test_a_notification_is_accepted(caller: Caller) -> None:
    assert caller.post({"method": "notifications/initialized"}).status == 202
