"""Ontraport's MCP server through the official SDK (extra ``mcp``): one call a connection, bounded in time and size."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from .exceptions import OntraportError, OntraportMisconfigured, OntraportRejected, OntraportUnavailable
from .provider import pause_of
from .transport import FAILURES, USER_AGENT, require_secure

try:
    import httpx2
    from mcp import Client, MCPError
    from mcp.client.streamable_http import streamable_http_client
except ImportError:  # the extra is not installed
    httpx2 = None  # type: ignore[assignment]

T = TypeVar("T")

ANSWER_LIMIT = 16 * 1024 * 1024


def is_installed() -> bool:
    return httpx2 is not None


def require_installed() -> None:
    if not is_installed():
        raise OntraportMisconfigured(
            "Calling Ontraport's MCP server needs the MCP SDK: pip install 'django-ontraport-connect[mcp]'.",
            code="no_mcp",
        )


@dataclass(kw_only=True, slots=True)
class Exchange:
    """What HTTP said last, for the SDK tells of errors in its own words only."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    failure: OntraportError | None = None


def auth(flow: Any) -> Any:
    """Give an object with an ``async_auth_flow`` to the SDK's HTTP client as its auth."""
    require_installed()

    class FlowAuth(httpx2.Auth):
        def async_auth_flow(self, request: Any) -> Any:
            return flow.async_auth_flow(request)

    return FlowAuth()


async def run(url: str, auth: Any, timeout: tuple[float, float], use: Callable[[Any], Awaitable[T]]) -> T:
    """Connect, let ``use`` call the server, and close; all of it within the sum of ``timeout``, in seconds.

    Raises ``OntraportUnavailable``, ``OntraportRejected`` or ``OntraportMisconfigured``, and what ``auth`` raises.
    """
    require_installed()
    require_secure(url)
    exchange = Exchange()
    outcome = await _attempt(url, auth, timeout, use, exchange)
    if isinstance(outcome, _Done):
        return outcome.value
    raise outcome


@dataclass(frozen=True, slots=True)
class _Done:
    value: Any


async def _attempt(
    url: str, auth: Any, timeout: tuple[float, float], use: Any, exchange: Exchange
) -> _Done | OntraportError:
    """Return the result or the error: plain secrets are in sight of the frames below this one."""
    try:
        with anyio.fail_after(sum(timeout)):
            async with (
                httpx2.AsyncClient(
                    auth=auth,
                    transport=_bounded_transport(exchange),
                    timeout=httpx2.Timeout(timeout[1], connect=timeout[0]),
                    headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                    follow_redirects=False,
                    trust_env=False,
                ) as http,
                Client(
                    streamable_http_client(url, http_client=http, terminate_on_close=False), mode="legacy"
                ) as client,
            ):
                return _Done(await use(client))
    except Exception as error:
        return _failure(error, exchange)


def _failure(error: Exception, exchange: Exchange) -> OntraportError:
    known = _find(error, OntraportError)
    if exchange.failure is not None or known is not None:
        return exchange.failure or known or OntraportUnavailable(FAILURES["nonsense"])
    if isinstance(error, TimeoutError) or _find(error, httpx2.TimeoutException) is not None:
        return OntraportUnavailable(FAILURES["timeout"], code="timeout")
    status = exchange.status
    if status == 429:
        return OntraportUnavailable(
            "Ontraport asks to slow down.", code="rate_limited", retry_after=pause_of(httpx2.Headers(exchange.headers))
        )
    if status is not None and 400 <= status < 500:
        return OntraportRejected(
            f"Ontraport's MCP server answered with status {status}.", code=f"http_{status}", status=status
        )
    if status is not None and status >= 300:
        return OntraportUnavailable(f"Ontraport's MCP server answered with status {status}.", code=f"http_{status}")
    rpc = _find(error, MCPError)
    if rpc is not None and status == 200:
        return OntraportRejected(f"Ontraport's MCP server refused the call (code {rpc.error.code}).", code="mcp_error")
    return OntraportUnavailable(
        FAILURES["connection" if status is None else "nonsense"], code="connection" if status is None else "nonsense"
    )


def _find(error: BaseException, kind: type[T]) -> T | None:
    """Look for an error of a kind in a group of errors."""
    if isinstance(error, kind):
        return error
    inner = [_find(each, kind) for each in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    return next((each for each in inner if each is not None), None)


def _bounded_transport(exchange: Exchange) -> Any:
    class BoundedTransport(httpx2.AsyncHTTPTransport):
        """Refuses what is encoded or too large, and remembers the last status."""

        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            exchange.status, exchange.headers = response.status_code, dict(response.headers)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                await response.aclose()
                exchange.failure = OntraportUnavailable(FAILURES["nonsense"], code="nonsense")
                raise httpx2.ReadError("encoded")
            response.stream = BoundedStream(response.stream)
            return response

    class BoundedStream(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = ANSWER_LIMIT
            async for chunk in self._stream:
                left -= len(chunk)
                if left < 0:
                    exchange.failure = OntraportUnavailable(FAILURES["too_large"], code="too_large")
                    raise httpx2.ReadError("too large")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    return BoundedTransport(trust_env=False, retries=0)


def value_of(result: Any) -> Any:
    """Return what a tool gave: its structured content, or else its text, parsed when it is JSON. Raises ``OntraportRejected``."""
    text = "\n".join(part.text for part in result.content if getattr(part, "type", "") == "text")
    if result.is_error:
        raise OntraportRejected(f"The tool reported an error: {text[:200]}", code="tool_error")
    if result.structured_content is not None:
        return result.structured_content
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
