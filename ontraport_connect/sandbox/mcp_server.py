"""The MCP server of mcp.ontraport.com: streamable HTTP at the root. Switches set what such servers differ in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from . import mcp_commerce, mcp_records, mcp_tasks
from .accounts import Account
from .mcp_sessions import Sessions
from .messages import Refused, Reply, Request, from_json, json_reply, not_here
from .records import Records
from .switches import Switches
from .tool import Tool

PROTOCOL_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
OFFERED: Mapping[str, tuple[str, ...]] = {
    "all": PROTOCOL_VERSIONS,
    "old": PROTOCOL_VERSIONS[:2],
    "new": PROTOCOL_VERSIONS[-1:],
}
SERVER_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, PARSE_ERROR = -32000, -32600, -32601, -32602, -32700
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (*mcp_records.TOOLS, *mcp_tasks.TOOLS, *mcp_commerce.TOOLS)}


class RpcError(Exception):
    """A JSON-RPC error, with its code and its message."""


def rpc_error(message_id: Any, code: int, text: str, status: int = 200) -> Reply:
    return json_reply({"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": text}}, status)


class McpServer:
    """Answers for accounts whose credentials were checked already. ``clock`` is in seconds."""

    def __init__(self, switches: Switches, clock: Callable[[], float]) -> None:
        self._switches = switches
        self.sessions = Sessions(switches, clock)
        self._have_listed: set[int] = set()

    def clear(self) -> None:
        self.sessions.clear()
        self._have_listed.clear()

    def answer(self, records: Records, request: Request) -> Reply:
        account = records.account
        if request.method == "POST":
            return self._post(records, request)
        if request.method == "DELETE" and self._switches.settings.mcp_sessions != "none":
            return self._in_session(account, request, lambda: self._end(request))
        if request.method == "GET" and self._switches.settings.mcp_stream:
            return self._in_session(account, request, self._stream)
        return Reply(status=405, headers={"Allow": "POST"})

    def _in_session(self, account: Account, request: Request, reply: Callable[[], Reply]) -> Reply:
        try:
            self.sessions.check(request, account.account_id)
        except Refused as refused:
            return rpc_error(None, SERVER_ERROR, refused.text, refused.status)
        return reply()

    def _end(self, request: Request) -> Reply:
        self.sessions.end(request)
        return Reply()

    def _stream(self) -> Reply:
        seconds = self._switches.settings.mcp_stream
        return Reply(body=b": nothing to say\n\n", content_type="text/event-stream", stream=seconds)

    def _post(self, records: Records, request: Request) -> Reply:
        try:
            message = from_json(request.body)
        except ValueError:
            return rpc_error(None, PARSE_ERROR, "Parse error", 400)
        if not _is_message(message):
            return rpc_error(None, INVALID_REQUEST, "Invalid request", 400)
        if message["method"] == "initialize":
            return self._initialize(records.account, message)
        version = request.header("mcp-protocol-version")
        if version and version not in self._versions:
            text = f"Bad Request: Unsupported protocol version (supported versions: {', '.join(self._versions)})"
            return rpc_error(None, SERVER_ERROR, text, 400)
        return self._in_session(records.account, request, lambda: self._answer(records, message))

    @property
    def _versions(self) -> tuple[str, ...]:
        return OFFERED[self._switches.settings.mcp_versions]

    def _initialize(self, account: Account, message: dict[str, Any]) -> Reply:
        asked = _params(message).get("protocolVersion")
        result = {
            "protocolVersion": asked if asked in self._versions else self._versions[-1],
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "ontraport-sandbox", "title": "Sandbox, not Ontraport", "version": "2"},
        }
        body = {"jsonrpc": "2.0", "id": message.get("id"), "result": result}
        return json_reply(body, headers=self.sessions.begin(account.account_id))

    def _answer(self, records: Records, message: dict[str, Any]) -> Reply:
        if "id" not in message:
            return Reply(status=202)
        try:
            result = self._result(records, message["method"], _params(message))
        except RpcError as error:
            code, text = error.args
            return rpc_error(message["id"], code, text)
        return json_reply({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _result(self, records: Records, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "ping":
                return {}
            case "tools/list":
                if "cursor" in params:
                    raise RpcError(INVALID_PARAMS, "Invalid cursor: all tools are on one page")
                self._have_listed.add(records.account.account_id)
                return {"tools": [tool.described() for tool in TOOLS.values()]}
            case "tools/call":
                return self._call(records, params)
        raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")

    def _call(self, records: Records, params: dict[str, Any]) -> dict[str, Any]:
        name, arguments = str(params.get("name")), params.get("arguments", {})
        must_list = self._switches.settings.mcp_list_first and records.account.account_id not in self._have_listed
        if must_list or (name not in TOOLS and name not in mcp_commerce.NOT_HERE):
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {name[:60]}")
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "arguments is an object")
        try:
            if name not in TOOLS:
                raise not_here(f"tool {name}")
            content = TOOLS[name].run(records, arguments)
        except Refused as refused:
            return self.failed(refused)
        text = json.dumps(content, ensure_ascii=False)
        result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": False}
        if self._switches.settings.mcp_results == "structured":
            result["structuredContent"] = content
        return result

    def failed(self, refused: Refused) -> dict[str, Any]:
        """Return the result of a tool that failed: words, or JSON with the status as Ontraport's published server has it."""
        text = refused.text
        if self._switches.settings.mcp_errors_in_results:
            text = json.dumps({"code": refused.status, "message": refused.text})
        return {"content": [{"type": "text", "text": text}], "isError": True}


def _is_message(message: Any) -> bool:
    """Tell whether this is a request or a notification, as MCP has them: an id is a text or a whole number."""
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        return False
    message_id = message.get("id")
    is_named = isinstance(message_id, (str, int)) and not isinstance(message_id, bool)
    return is_named or ("id" not in message and message["method"] != "initialize")


def _params(message: Mapping[str, Any]) -> dict[str, Any]:
    params = message.get("params")
    return params if isinstance(params, dict) else {}
