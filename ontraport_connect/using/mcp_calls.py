"""Calls the tools of Ontraport's MCP server, from sync and async code: one request a call, in a session that the process holds."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ontraport_connect import monitoring, protocol
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import Conversation

from . import credentials, steps, waiting
from .mcp_requests import Caller
from .steps import Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool as the server describes it. ``input_schema`` is the JSON Schema of its arguments."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


def call_tool(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Call a tool and return its structured content, or else its text, parsed when it is JSON.

    The call waits for its turn, and for the end of a 429, for at most ``ONTRAPORT_RATE_WAIT`` seconds; ``budget.patience`` changes that.
    Raises ``OntraportRejected`` for a tool outside ``ONTRAPORT_MCP_TOOLS`` (before anything is sent) or one that reports an error,
    ``OntraportUnavailable``, ``ReconnectRequired``, and ``OntraportMisconfigured`` without the extra ``mcp``, or in a thread that runs an
    event loop (code ``running_loop``). The ``outcome_unknown`` of an ``OntraportUnavailable`` tells that the tool may have run. Raises
    ``TypeError`` or ``ValueError``, before anything is sent, for arguments that JSON has no place for.
    """
    waiting.refuse_in_event_loop("account.mcp()", "await account.amcp()")
    with monitoring.calling("mcp", ontraport_tool=tool):
        return steps.run(_tool_steps(account, tool, arguments))


async def acall_tool(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Async version of ``call_tool``."""
    with monitoring.calling("mcp", ontraport_tool=tool):
        return await steps.arun(_tool_steps(account, tool, arguments))


def list_tools(account: OntraportAccount) -> Sequence[Tool]:
    """Return the tools that the server offers and this site may use. Raises as ``call_tool`` does."""
    waiting.refuse_in_event_loop("account.mcp_tools()", "await account.amcp_tools()")
    with monitoring.calling("mcp", ontraport_tool=""):
        return _allowed(steps.run(_list_steps(account)))


async def alist_tools(account: OntraportAccount) -> Sequence[Tool]:
    """Async version of ``list_tools``."""
    with monitoring.calling("mcp", ontraport_tool=""):
        return _allowed(await steps.arun(_list_steps(account)))


def _is_allowed(tool: str) -> bool:
    return conf.ONTRAPORT_MCP_TOOLS is None or tool in conf.ONTRAPORT_MCP_TOOLS


def _allowed(tools: Sequence[Any]) -> Sequence[Tool]:
    return [
        Tool(name=tool.name, description=tool.description or "", input_schema=tool.input_schema)
        for tool in tools
        if _is_allowed(tool.name)
    ]


def _tool_steps(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Steps:
    if not _is_allowed(tool):
        raise OntraportRejected(
            f"This site does not use the tool {tool}: it is not in ONTRAPORT_MCP_TOOLS.", code="tool_not_allowed"
        )
    yield protocol.require_mcp
    sent = protocol.as_json(arguments)
    caller = yield from _caller(account)
    with _noting_outcome(caller):
        return protocol.tool_value(
            (yield from caller.converse(lambda conversation: conversation.call_tool(tool, sent))), caller.secrets()
        )


def _list_steps(account: OntraportAccount) -> Steps:
    yield protocol.require_mcp
    caller = yield from _caller(account)
    return (yield from caller.converse(Conversation.list_tools))


def _caller(account: OntraportAccount) -> Generator[Any, Any, Caller]:
    yield partial(credentials.prepare, account)
    return Caller(account, patience=waiting.longest_wait())


@contextmanager
def _noting_outcome(caller: Caller) -> Iterator[None]:
    """Note in an error whether the tool may have run."""
    try:
        yield
    except OntraportUnavailable as error:
        error.outcome_unknown = caller.outcome_unknown
        raise
