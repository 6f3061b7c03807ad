"""Ontraport's MCP server, called with the official SDK (extra ``mcp``): one session per call, bounded in time and size."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable

from .failures import excerpt, unavailable
from .http import USER_AGENT, reveal
from .mcp_sdk import require_mcp, sdk
from .retry_after import pause_of
from .route import DIRECT, Proxy, Route
from .secure_urls import require_secure
from .tls import tls_context
from .wire import Wire, plugged_in

T = TypeVar("T")

ANSWER_LIMIT = 16 * 1024 * 1024

REQUESTS_PER_CALL = 3
"""HTTP requests that one call sends: two to open the session, and the call itself."""

NO_ANSWER = {-32700, -32603, -32600, -32000}
"""JSON-RPC error codes that mean that the server failed, or that the SDK could not read its answer."""

INVALID_PARAMS = -32602
"""The JSON-RPC error code that a server sends when it knows no tool of this name, or when the arguments do not fit."""

MOST_PAGES = 20
"""The most pages of the list of tools that are read."""


@dataclass(kw_only=True, slots=True)
class Exchange:
    """The last HTTP response. The SDK's errors do not tell its status."""

    way: Mapping[str, Any] = field(repr=False)
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    failure: OntraportError | None = None


async def run_mcp(
    url: str,
    authorization: Secret,
    deadlines: tuple[float, float],
    use: Callable[[Any], Awaitable[T]],
    route: Route = DIRECT,
) -> T:
    """Open a session, let ``use`` call the server, and close it, all within the sum of ``deadlines`` (connect, read) in seconds.

    ``authorization`` is the value of the ``Authorization`` header. Raises ``OntraportUnavailable``, ``OntraportRejected`` or
    ``OntraportMisconfigured``.
    """
    require_mcp()
    require_secure(url)
    exchange = Exchange(way=_way(url, route))
    outcome = await _attempt(url, authorization, deadlines, use, exchange)
    if isinstance(outcome, OntraportError):
        raise outcome
    return outcome


def _way(url: str, route: Route) -> dict[str, Any]:
    """Return the options of an HTTP transport for a route. Raises ``OntraportMisconfigured``."""
    context = tls_context(route.ca_bundle)
    if route.proxy is None or url.startswith("http:"):  # on a loopback host, which no proxy reaches
        return {"verify": context}
    proxy = Proxy.read(route.proxy)
    own_context = context if proxy.scheme == "https" else None
    way = sdk("httpx2").Proxy(f"{proxy.scheme}://{proxy.netloc}", ssl_context=own_context, headers=proxy.headers())
    return {"verify": context, "proxy": way}


async def _attempt(
    url: str,
    authorization: Secret,
    deadlines: tuple[float, float],
    use: Callable[[Any], Awaitable[T]],
    exchange: Exchange,
) -> T | OntraportError:
    """Return the result or the error. The frames below this one hold plain secrets, so nothing is raised from them."""
    httpx2 = sdk("httpx2")

    def authenticate(request: Any) -> Any:
        request.headers["Authorization"] = reveal(authorization)
        return request

    try:
        with sdk("anyio").fail_after(sum(deadlines)):
            async with (
                httpx2.AsyncClient(
                    auth=authenticate,
                    transport=_bounded_transport(exchange),
                    timeout=httpx2.Timeout(deadlines[1], connect=deadlines[0]),
                    headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                    follow_redirects=False,
                    trust_env=False,
                ) as http,
                sdk("mcp").Client(
                    sdk("mcp.client.streamable_http").streamable_http_client(
                        url, http_client=http, terminate_on_close=False
                    ),
                    mode="legacy",
                ) as client,
            ):
                return await use(client)
    except Exception as error:  # noqa: BLE001  # mapped by _failure, whatever it is
        return _failure(error, exchange, authorization)


def _failure(error: Exception, exchange: Exchange, authorization: Secret) -> OntraportError:
    known = exchange.failure or _find(error, OntraportError)
    if known is not None:
        return known
    httpx2 = sdk("httpx2")
    if isinstance(error, TimeoutError) or _find(error, httpx2.TimeoutException) is not None:
        return unavailable("timeout")
    if exchange.status is None:
        return unavailable("tls" if _is_tls(_find(error, httpx2.ConnectError)) else "connection")
    if exchange.status >= 300:
        return _refusal(exchange.status, httpx2.Headers(exchange.headers))
    rpc = _find(error, sdk("mcp").MCPError)
    if rpc is not None and rpc.error.code not in NO_ANSWER:
        return _rpc_refusal(rpc.error, authorization)
    return unavailable("nonsense")


def _rpc_refusal(rpc: Any, authorization: Secret) -> OntraportRejected:
    text = f"Ontraport's MCP server refused the call (code {rpc.code})."
    if rpc.code == INVALID_PARAMS:
        text += " Is the tool's name right? `account.mcp_tools()` lists them."
    error = OntraportRejected(text, code="mcp_error")
    _, *credentials = re.split("[ :]+", reveal(authorization))
    error.said = excerpt(rpc.message, filter(None, credentials))
    return error


def _is_tls(error: BaseException | None) -> bool:
    """Tell whether a TLS handshake failed: the HTTP client raises its own errors from those of ``ssl``."""
    return error is not None and (isinstance(error, ssl.SSLError) or _is_tls(error.__cause__ or error.__context__))


def _refusal(status: int, headers: Mapping[str, str]) -> OntraportError:
    if status == 429:
        return OntraportUnavailable("Ontraport asks to slow down.", code="rate_limited", retry_after=pause_of(headers))
    text, code = f"Ontraport's MCP server answered with status {status}.", f"http_{status}"
    if status < 500:
        return OntraportRejected(text, code=code, status=status)
    return OntraportUnavailable(text, code=code)


def _find(error: BaseException, kind: type[T]) -> T | None:
    """Return the error of a kind in a group of errors, or ``None``."""
    if isinstance(error, kind):
        return error
    inner = [_find(each, kind) for each in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    return next((each for each in inner if each is not None), None)


def _bounded_transport(exchange: Exchange) -> Any:
    """Return a transport that refuses compressed and too large responses, and records each response in ``exchange``."""
    httpx2 = sdk("httpx2")

    class BoundedTransport(httpx2.AsyncHTTPTransport):  # type: ignore[misc, name-defined]  # imported by the first call
        async def handle_async_request(self, request: Any) -> Any:
            exchange.status = None
            wire = plugged_in()
            response = await (super().handle_async_request(request) if wire is None else _answered(wire, request))
            exchange.status, exchange.headers = response.status_code, dict(response.headers)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                await response.aclose()
                exchange.failure = unavailable("nonsense")
                raise httpx2.ReadError("encoded")
            response.stream = BoundedStream(response.stream)
            return response

    class BoundedStream(httpx2.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = ANSWER_LIMIT
            async for chunk in self._stream:
                left -= len(chunk)
                if left < 0:
                    exchange.failure = unavailable("too_large")
                    raise httpx2.ReadError("too large")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    return BoundedTransport(trust_env=False, retries=0, **exchange.way)


async def _answered(wire: Wire, request: Any) -> Any:
    """Return the response of what answers in place of the network."""
    answer = wire.answer(request.method, str(request.url), dict(request.headers), await request.aread())
    return sdk("httpx2").Response(answer.status, headers=dict(answer.headers), content=answer.body)


async def call_mcp_tool(client: Any, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Call a tool. The SDK's own method would fetch the list of all tools to check the result against a schema."""
    types = sdk("mcp.types")
    request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=dict(arguments)))
    return await client.session.send_request(request, types.CallToolResult)


async def list_mcp_tools(client: Any) -> Sequence[Any]:
    """Return all tools that the server lists."""
    tools: list[Any] = []
    cursor = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


def tool_value(result: Any) -> Any:
    """Return the structured content of a result, or else its text, parsed when it is JSON.

    Raises ``OntraportRejected`` (with ``said``) when the tool reported an error.
    """
    text = "\n".join(part.text for part in result.content if getattr(part, "type", "") == "text")
    if result.is_error:
        error = OntraportRejected("The tool reported an error.", code="tool_error")
        error.said = excerpt(text)
        raise error
    if result.structured_content is not None:
        return result.structured_content
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
