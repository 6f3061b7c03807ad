"""A client of the stand-in's logic in this process, and a clock that stands still."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from ontraport_connect.sandbox import Reply, Request, StandIn

KEYS = {"api-appid": "2_187157_sandbox", "api-key": "sandbox-key-owner"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Clock:
    """Unix seconds, which pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """Sends requests with the owner's key pair, unless other headers are given."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    def rest(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = KEYS,
    ) -> Reply:
        parts = urlsplit(path)
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if form is not None:
            sent, headers = urlencode(form).encode(), {**headers, **FORM}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(method=method, path=f"/1/{parts.path}", query=query, headers=headers, body=sent)
        return self.stand_in.rest(request)

    def data(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        """Return the ``data`` of a success."""
        reply = self.rest(method, path, body, **kwargs)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)["data"]

    def refusal(self, method: str, path: str, body: Any = None, **kwargs: Any) -> tuple[int, str]:
        reply = self.rest(method, path, body, **kwargs)
        return reply.status, reply.body.decode()

    def post(self, message: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a JSON-RPC message to the MCP server."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.stand_in.mcp(Request(method="POST", path="/", headers={**KEYS, **(headers or {})}, body=body))

    def rpc(self, method: str, headers: Mapping[str, str] | None = None, **params: Any) -> Any:
        reply = self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, headers)
        return json.loads(reply.body)

    def tool(self, tool: str, **arguments: Any) -> Any:
        """Return the structured content of a tool's success."""
        result = self.rpc("tools/call", name=tool, arguments=arguments)["result"]
        assert not result["isError"], result
        return result["structuredContent"]

    def failure(self, tool: str, **arguments: Any) -> str:
        """Return what a tool says that failed."""
        result = self.rpc("tools/call", name=tool, arguments=arguments)["result"]
        assert result["isError"], result
        return str(result["content"][0]["text"])


def holds(given: Any, expected: Any) -> bool:
    """Tell whether a JSON value has all that is expected of it: the members of objects that are named, and all members of lists."""
    if isinstance(expected, dict):
        return isinstance(given, dict) and all(holds(given.get(name), value) for name, value in expected.items())
    if isinstance(expected, list):
        return isinstance(given, list) and len(given) == len(expected) and all(map(holds, given, expected))
    return bool(given == expected)
