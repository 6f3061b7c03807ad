"""Calls Ontraport's MCP server through the official SDK (extra ``mcp``): one connection per call, bounded in time and size."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportRejected, OntraportUnavailable

from .failures import unavailable
from .http import USER_AGENT
from .retry_after import pause_of
from .route import DIRECT, Proxy, Route
from .secure_urls import require_secure
from .tls import tls_context

try:
    import anyio
    import httpx2
except ImportError:  # the extra is not installed
    httpx2 = None  # type: ignore[assignment]

T = TypeVar("T")

ANSWER_LIMIT = 16 * 1024 * 1024

REQUESTS_PER_CALL = 3
"""HTTP requests of one call, for the rate limiter: two to open the session, and the call itself."""

NO_ANSWER = {-32700, -32603, -32600, -32000}
"""JSON-RPC error codes that the SDK makes up when it cannot read an answer, or that say that the server failed."""

MOST_PAGES = 20
"""At most this many pages of the list of tools are read."""


def _auth_classes() -> Iterator[type]:
    """Yield the ``Auth`` base classes of httpx2 (which the SDK uses) and httpx, where they are installed."""
    for name in ("httpx2", "httpx"):
        try:
            yield import_module(name).Auth
        except ImportError:
            continue


HttpxAuthBase: Any = type("Auth", tuple(_auth_classes()), {})
"""The base class of an auth that both clients accept."""


def is_mcp_installed() -> bool:
    return find_spec("httpx2") is not None and find_spec("mcp") is not None


def require_mcp() -> None:
    if not is_mcp_installed():
        raise OntraportMisconfigured(
            "Calling Ontraport's MCP server needs the MCP SDK: pip install 'django-ontraport-connect[mcp]'.",
            code="no_mcp",
        )


def _sdk(module: str) -> Any:
    """Return a module of the SDK, imported at its first use: the import takes half a second, too long for the start of a site."""
    return import_module(f"mcp{module}")


@dataclass(kw_only=True, slots=True)
class Exchange:
    """How a call reaches the server, and its last HTTP response. The SDK's exceptions do not tell its status."""

    way: Mapping[str, Any] = field(repr=False)
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    failure: OntraportError | None = None


async def run_mcp(
    url: str,
    auth: Any,
    deadlines: tuple[float, float],
    use: Callable[[Any], Awaitable[T]],
    route: Route = DIRECT,
) -> T:
    """Connect, let ``use`` call the server, and close, all within the sum of ``deadlines`` (to connect, to answer), in seconds.

    Raises ``OntraportUnavailable``, ``OntraportRejected``, ``OntraportMisconfigured``, and what ``auth`` raises.
    """
    require_mcp()
    require_secure(url)
    exchange = Exchange(way=_way(url, route))
    outcome = await _attempt(url, auth, deadlines, use, exchange)
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
    way = httpx2.Proxy(f"{proxy.scheme}://{proxy.netloc}", ssl_context=own_context, headers=proxy.headers())
    return {"verify": context, "proxy": way}


async def _attempt(
    url: str, auth: Any, deadlines: tuple[float, float], use: Callable[[Any], Awaitable[T]], exchange: Exchange
) -> T | OntraportError:
    """Return the result or the error. Frames below this one see plain secrets, so that nothing may be raised through them."""
    try:
        with anyio.fail_after(sum(deadlines)):
            async with (
                httpx2.AsyncClient(
                    auth=auth,
                    transport=_bounded_transport(exchange),
                    timeout=httpx2.Timeout(deadlines[1], connect=deadlines[0]),
                    headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                    follow_redirects=False,
                    trust_env=False,
                ) as http,
                _sdk("").Client(
                    _sdk(".client.streamable_http").streamable_http_client(
                        url, http_client=http, terminate_on_close=False
                    ),
                    mode="legacy",
                ) as client,
            ):
                return await use(client)
    except Exception as error:  # noqa: BLE001  # mapped by _failure, whatever it is
        return _failure(error, exchange)


def _failure(error: Exception, exchange: Exchange) -> OntraportError:
    known = exchange.failure or _find(error, OntraportError)
    if known is not None:
        return known
    if isinstance(error, TimeoutError) or _find(error, httpx2.TimeoutException) is not None:
        return unavailable("timeout")
    if exchange.status is None:
        return unavailable("tls" if _is_tls(_find(error, httpx2.ConnectError)) else "connection")
    if exchange.status >= 300:
        return _refusal(exchange.status, httpx2.Headers(exchange.headers))
    rpc = _find(error, _sdk("").MCPError)
    if rpc is not None and rpc.error.code not in NO_ANSWER:
        return OntraportRejected(f"Ontraport's MCP server refused the call (code {rpc.error.code}).", code="mcp_error")
    return unavailable("nonsense")


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
    """Return the first error of a kind in an exception or exception group, or ``None``."""
    if isinstance(error, kind):
        return error
    inner = [_find(each, kind) for each in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    return next((each for each in inner if each is not None), None)


def _bounded_transport(exchange: Exchange) -> Any:
    class BoundedTransport(httpx2.AsyncHTTPTransport):
        """Refuses responses that are encoded or too large, and records the last status."""

        async def handle_async_request(self, request: Any) -> Any:
            exchange.status = None
            response = await super().handle_async_request(request)
            exchange.status, exchange.headers = response.status_code, dict(response.headers)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                await response.aclose()
                exchange.failure = unavailable("nonsense")
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
                    exchange.failure = unavailable("too_large")
                    raise httpx2.ReadError("too large")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    return BoundedTransport(trust_env=False, retries=0, **exchange.way)


async def call_mcp_tool(client: Any, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Call a tool. The SDK's own method would fetch the list of all tools, to check the result against its schema."""
    types = _sdk(".types")
    request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=dict(arguments)))
    return await client.session.send_request(request, types.CallToolResult)


async def list_mcp_tools(client: Any) -> Sequence[Any]:
    """Return every tool that the server lists."""
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
    """Return a tool's structured content, or else its text, parsed if it is JSON. Raises ``OntraportRejected`` if the tool failed."""
    text = "\n".join(part.text for part in result.content if getattr(part, "type", "") == "text")
    if result.is_error:
        error = OntraportRejected("The tool reported an error.", code="tool_error")
        error.said = text[:200]
        raise error
    if result.structured_content is not None:
        return result.structured_content
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
