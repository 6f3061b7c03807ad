"""An MCP server as Ontraport's may be: with sessions or without, of the protocol with a handshake or of the newer one, strict about both.

It counts requests and connections, and knows which sessions are open. A tool answers with what ``tool`` returns.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from django.test import override_settings

from tests.support.answering import Answering, Asked, Reply, as_json

HANDSHAKE, MODERN = "2025-11-25", "2026-07-28"
META = "io.modelcontextprotocol/"

Tool = Callable[[dict[str, Any]], Any]


def text(value: object, *, is_error: bool = False) -> dict[str, Any]:
    """Return the result of a tool, which has its value as text, as Ontraport's published server does."""
    return {"content": [{"type": "text", "text": json.dumps(value)}], "isError": is_error}


def rpc_error(code: int, message: str, message_id: object = None, status: int = 200) -> Reply:
    return as_json({"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": message}}, status)


class McpServer(Answering):
    """``protocols`` are the eras that it speaks. ``unknown`` answers requests with a session id that it does not know. ``events`` sends
    results as event streams. ``takes`` are the forms of credentials that it accepts.

    ``listed`` answers to a list of the tools. With ``binds``, a session may be used with the credentials that opened it, and with no
    others.
    """

    forbidden = Reply(status=403)

    def __init__(
        self,
        *,
        protocols: tuple[str, ...] = (HANDSHAKE,),
        sessions: bool = True,
        unknown: Reply | None = None,
        events: bool = False,
        takes: tuple[str, ...] = ("headers", "bearer"),
        tool: Tool = lambda params: text(params["arguments"]),
        binds: bool = False,
    ) -> None:
        super().__init__(self.answer)
        self.protocols = protocols
        self.sessions = sessions
        self.unknown = unknown or rpc_error(-32001, "Session not found", status=404)
        self.events = events
        self.takes = takes
        self.tool = tool
        self.binds = binds
        self.open: dict[str, str] = {}
        self.opened = 0
        self.is_deaf = False
        self.listed: Any = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}
        self.ended: list[str] = []
        self.called: list[dict[str, Any]] = []
        self.refused_tokens: set[str] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def settings(self) -> AbstractContextManager[Any]:
        """The settings of a site that uses this server, which counts all requests and lets all through."""
        return override_settings(ONTRAPORT_MCP_URL=self.url, ONTRAPORT_RATE_LIMIT=(10_000, 60))

    @property
    def requests(self) -> int:
        return len(self.asked)

    def answer(self, asked: Asked) -> Reply | None:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        credentials = self.credentials(headers)
        if self.is_deaf:
            return None
        if credentials is None:
            return Reply(status=401)
        if asked.method == "DELETE":
            return self.end(headers)
        sent = json.loads(asked.body)
        is_modern = f"{META}protocolVersion" in sent.get("params", {}).get("_meta", {})
        return self.answer_modern(sent, headers) if is_modern else self.answer_in_session(sent, headers, credentials)

    def answer_in_session(self, sent: dict[str, Any], headers: dict[str, str], credentials: str) -> Reply:
        if HANDSHAKE not in self.protocols:
            return rpc_error(-32022, "Unsupported protocol version", sent.get("id"), 400)
        if sent["method"] == "initialize":
            return self.initialize(sent, credentials)
        if self.sessions and (refusal := self.refusal(headers, credentials)):
            return refusal
        assert headers["mcp-protocol-version"] == HANDSHAKE
        return Reply(status=202) if "id" not in sent else self.result(sent)

    def credentials(self, headers: dict[str, str]) -> str | None:
        """Return the credentials in a form that is taken here, unless they are refused."""
        pair = f"{headers.get('api-appid')}:{headers.get('api-key')}" if "api-key" in headers else None
        bearer = headers.get("authorization", "").removeprefix("Bearer ") or None
        taken = (pair if "headers" in self.takes else None) or (bearer if "bearer" in self.takes else None)
        return None if taken in self.refused_tokens else taken

    def initialize(self, sent: dict[str, Any], credentials: str) -> Reply:
        agreed = {"protocolVersion": HANDSHAKE, "capabilities": {}, "serverInfo": {"name": "test", "version": "1"}}
        reply = as_json({"jsonrpc": "2.0", "id": sent["id"], "result": agreed})
        if not self.sessions:
            return reply
        with self._lock:
            self.opened += 1
            number = f"session-{next(self._numbers)}"
            self.open[number] = credentials
        return Reply(body=reply.body, headers={**reply.headers, "Mcp-Session-Id": number})

    def refusal(self, headers: dict[str, str], credentials: str) -> Reply | None:
        number = headers.get("mcp-session-id")
        if number is None:
            return rpc_error(-32000, "Bad Request: Mcp-Session-Id header is required", status=400)
        if number not in self.open:
            return self.unknown
        return self.forbidden if self.binds and self.open[number] != credentials else None

    def end(self, headers: dict[str, str]) -> Reply:
        number = headers["mcp-session-id"]
        self.ended.append(number)
        return Reply(status=204 if self.open.pop(number, None) else 404)

    def answer_modern(self, sent: dict[str, Any], headers: dict[str, str]) -> Reply:
        if MODERN not in self.protocols:
            return rpc_error(-32000, "Bad Request: Server not initialized", status=400)
        assert headers["mcp-protocol-version"] == sent["params"]["_meta"][f"{META}protocolVersion"] == MODERN
        assert headers["mcp-method"] == sent["method"]
        if sent["method"] == "server/discover":
            named = {"supportedVersions": [MODERN], "capabilities": {}, "resultType": "complete"}
            return as_json({"jsonrpc": "2.0", "id": sent["id"], "result": named})
        assert headers.get("mcp-name") == sent["params"].get("name")
        assert "mcp-session-id" not in headers
        return self.result(sent)

    def result(self, sent: dict[str, Any]) -> Reply:
        if sent["method"] == "tools/list":
            result = self.listed
        else:
            self.called.append(sent["params"])
            result = self.tool(sent["params"])
        if isinstance(result, Reply):
            return result
        reply = as_json({"jsonrpc": "2.0", "id": sent["id"], "result": result})
        if not self.events:
            return reply
        progress = b'{"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}'
        stream = b"id: 1\r\ndata:\r\n\r\nevent: message\r\ndata: %s\r\n\r\nevent: message\r\ndata: %s\r\n\r\n"
        return Reply(body=stream % (progress, reply.body), headers={"Content-Type": "text/event-stream"})
