"""Calls the tools of Ontraport's MCP server, from sync and async code.

A call is a sequence of steps. Steps that may use the database run in the caller's thread (or in Django's thread for sync code), so that no
database connection is left behind in the thread of an event loop. Only the exchange with the MCP server runs in a loop: in the caller's,
or for sync callers in the background loop of the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from ontraport_connect import monitoring, protocol, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import Method, OntraportAccount

from . import credentials, rate_limiter, waiting
from .rate_window import Turn

T = TypeVar("T")


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
    event loop (code ``running_loop``). The ``outcome_unknown`` of an ``OntraportUnavailable`` tells that the tool may have run.
    """
    waiting.refuse_in_event_loop("account.mcp()", "await account.amcp()")
    call = _ToolCall(tool, arguments)
    with call.noting_outcome(), monitoring.calling("mcp", ontraport_tool=tool):
        return protocol.tool_value(_run(_steps(account, call)))


async def acall_tool(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Async version of ``call_tool``."""
    call = _ToolCall(tool, arguments)
    with call.noting_outcome(), monitoring.calling("mcp", ontraport_tool=tool):
        return protocol.tool_value(await _arun(_steps(account, call)))


def list_tools(account: OntraportAccount) -> Sequence[Tool]:
    """Return the tools that the server offers and this site may use. Raises as ``call_tool`` does."""
    waiting.refuse_in_event_loop("account.mcp_tools()", "await account.amcp_tools()")
    with monitoring.calling("mcp", ontraport_tool=""):
        return _allowed(_run(_steps(account, protocol.list_mcp_tools)))


async def alist_tools(account: OntraportAccount) -> Sequence[Tool]:
    """Async version of ``list_tools``."""
    with monitoring.calling("mcp", ontraport_tool=""):
        return _allowed(await _arun(_steps(account, protocol.list_mcp_tools)))


class _ToolCall:
    """One call of a tool, which knows whether it was sent. Raises ``OntraportRejected`` for a tool that this site may not call."""

    def __init__(self, tool: str, arguments: Mapping[str, Any]) -> None:
        if not _is_allowed(tool):
            raise OntraportRejected(
                f"This site does not use the tool {tool}: it is not in ONTRAPORT_MCP_TOOLS.", code="tool_not_allowed"
            )
        self._tool = tool
        self._arguments = arguments
        self._is_sent = False

    async def __call__(self, client: Any) -> Any:
        self._is_sent = True
        return await protocol.call_mcp_tool(client, self._tool, self._arguments)

    @contextmanager
    def noting_outcome(self) -> Iterator[None]:
        """Note in an error that the tool may have run."""
        try:
            yield
        except OntraportUnavailable as error:
            error.outcome_unknown = self._is_sent and error.code != "rate_limited"
            raise


def _is_allowed(tool: str) -> bool:
    return conf.ONTRAPORT_MCP_TOOLS is None or tool in conf.ONTRAPORT_MCP_TOOLS


def _allowed(tools: Sequence[Any]) -> Sequence[Tool]:
    return [
        Tool(name=tool.name, description=tool.description or "", input_schema=tool.input_schema)
        for tool in tools
        if _is_allowed(tool.name)
    ]


@dataclass(frozen=True, slots=True)
class InLoop:
    """A step that is to be run in an event loop."""

    main: Callable[[], Coroutine[Any, Any, Any]]


Step = float | InLoop | Callable[[], Any]
"""Seconds to sleep, a coroutine function, or a function that may use the database."""


def _steps(account: OntraportAccount, use: Callable[[Any], Awaitable[T]]) -> Generator[Step, Any, T]:
    """Yield the steps of one call, be sent the result of each, and return what ``use`` returns."""
    yield protocol.require_mcp
    yield partial(credentials.prepare, account)
    give_up = time.monotonic() + waiting.longest_wait()
    may_renew = account.method == Method.OAUTH
    while True:
        turn = yield from _take_turn(account, patience=max(0.0, give_up - time.monotonic()))
        sent = credentials.snapshot(account)
        try:
            result: T = yield _exchange(sent, use)
        except OntraportUnavailable as error:
            if error.code != "rate_limited" or error.retry_after is None:
                raise
            yield partial(rate_limiter.hold, account, error.retry_after)
        except OntraportRejected as error:
            if error.status != 401 or (account.method == Method.OAUTH and not may_renew):
                raise
            if not may_renew:
                raise (yield partial(credentials.key_refused, account)) from None
            may_renew = False
            yield partial(credentials.renew, account, sent=sent)
        else:
            return result
        finally:
            yield partial(rate_limiter.settle, turn)


def _take_turn(account: OntraportAccount, *, patience: float) -> Generator[Step, Any, Turn]:
    turn: Turn = yield partial(rate_limiter.reserve, account, patience=patience, requests=protocol.REQUESTS_PER_CALL)
    while turn.wait:
        yield turn.wait
        turn = yield partial(rate_limiter.confirm, turn)
    return turn


def _exchange(sent: OntraportAccount, use: Callable[[Any], Awaitable[T]]) -> InLoop:
    url, timeout, way = conf.ONTRAPORT_MCP_URL, conf.ONTRAPORT_TIMEOUT, refreshing.route()
    return InLoop(partial(protocol.run_mcp, url, credentials.bearer(sent), timeout, use, way))


def _run(steps: Generator[Step, Any, T]) -> T:
    """Run the steps in the caller's thread, and coroutines in the background loop."""
    advance = partial(steps.send, None)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            value: T = end.value
            return value
        try:
            advance = partial(steps.send, _do(step))
        except BaseException as error:  # noqa: BLE001  # it is for the generator to handle, or to raise after it has cleaned up
            advance = partial(steps.throw, error)


def _do(step: Step) -> Any:
    if isinstance(step, float):
        return time.sleep(step)
    return protocol.run_in_background(step.main) if isinstance(step, InLoop) else step()


async def _arun(steps: Generator[Step, Any, T]) -> T:
    """Run the steps in the caller's event loop, and those that may use the database in a thread."""
    advance = partial(steps.send, None)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            value: T = end.value
            return value
        try:
            advance = partial(steps.send, await _ado(step))
        except BaseException as error:  # noqa: BLE001  # as above
            advance = partial(steps.throw, error)


async def _ado(step: Step) -> Any:
    if isinstance(step, float):
        return await asyncio.sleep(step)
    return await (step.main() if isinstance(step, InLoop) else sync_to_async(step)())
