"""Call the tools of Ontraport's MCP server with an account, in sync and in async code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from ontraport_connect import protocol, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import Method, OntraportAccount

from . import credentials, rate_limiter
from .httpx_auth import HttpxAuth

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool as the server describes it; ``input_schema`` is the JSON Schema of its arguments."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


def call_tool(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Call a tool of Ontraport's MCP server and return what it gave: its structured content, else its text, read as JSON if it is.

    The call waits for its turn, and waits out a 429, for ``ONTRAPORT_RATE_WAIT`` seconds in all, or less within ``budget.patience``.
    Raises ``OntraportRejected`` for a tool outside ``ONTRAPORT_MCP_TOOLS`` (before anything is sent) or one that reports an error,
    ``OntraportUnavailable``, ``ReconnectRequired``, and ``OntraportMisconfigured`` without the extra ``mcp``.
    """
    return async_to_sync(acall_tool)(account, tool, arguments)


async def acall_tool(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Do what ``call_tool`` does, in an async view."""
    if not _is_allowed(tool):
        raise OntraportRejected(
            f"This site does not use the tool {tool}: it is not in ONTRAPORT_MCP_TOOLS.", code="tool_not_allowed"
        )
    return protocol.tool_value(await _run(account, lambda client: protocol.call_mcp_tool(client, tool, arguments)))


def list_tools(account: OntraportAccount) -> Sequence[Tool]:
    """Return the tools that the server offers and this site may use. Raises as ``call_tool`` does."""
    tools: Sequence[Tool] = async_to_sync(alist_tools)(account)
    return tools


async def alist_tools(account: OntraportAccount) -> Sequence[Tool]:
    """Do what ``list_tools`` does, in an async view."""
    return [
        Tool(name=tool.name, description=tool.description or "", input_schema=tool.input_schema)
        for tool in await _run(account, protocol.list_mcp_tools)
        if _is_allowed(tool.name)
    ]


def _is_allowed(tool: str) -> bool:
    return conf.ONTRAPORT_MCP_TOOLS is None or tool in conf.ONTRAPORT_MCP_TOOLS


async def _run(account: OntraportAccount, use: Callable[[Any], Awaitable[T]]) -> T:
    protocol.require_mcp()
    await sync_to_async(credentials.prepare)(account)
    give_up = time.monotonic() + rate_limiter.longest_wait()
    while True:
        turn = await sync_to_async(rate_limiter.reserve)(
            account, patience=max(0.0, give_up - time.monotonic()), requests=protocol.REQUESTS_PER_CALL
        )
        while turn.wait:
            await asyncio.sleep(turn.wait)
            turn = await sync_to_async(rate_limiter.confirm)(turn)
        try:
            return await _attempt(account, use)
        except OntraportUnavailable as error:
            if error.code != "rate_limited" or error.retry_after is None:
                raise
            await sync_to_async(rate_limiter.hold)(account, error.retry_after)
        finally:
            await sync_to_async(rate_limiter.settle)(turn)


async def _attempt(account: OntraportAccount, use: Callable[[Any], Awaitable[T]]) -> T:
    auth = HttpxAuth(account, takes_turns=False)
    try:
        return await protocol.run_mcp(
            conf.ONTRAPORT_MCP_URL,
            auth,
            conf.ONTRAPORT_TIMEOUT,
            use,
            refreshing.route(),
        )
    except OntraportRejected as error:
        if error.status != 401 or account.method == Method.OAUTH:
            raise
    raise await sync_to_async(credentials.key_refused)(account)
