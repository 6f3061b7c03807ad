"""Authenticates httpx and httpx2 clients (the official MCP SDK uses httpx2) at Ontraport's MCP server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from ontraport_connect.exceptions import OntraportRejected
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import HttpxAuthBase, reveal

from . import credentials, rate_limiter, waiting


class HttpxAuth(HttpxAuthBase):  # type: ignore[misc]  # its bases are what is installed
    """Waits for a turn, refreshes an access token that is about to expire, attaches it, and on a 401 refreshes and retries once.

    Credentials are sent in the ``Authorization`` header only, which httpx drops when it follows a redirect to another host.
    """

    def __init__(self, account: OntraportAccount) -> None:
        self.account = account

    def sync_auth_flow(self, request: Any) -> Iterator[Any]:
        waiting.refuse_in_event_loop("A sync client of httpx", "httpx.AsyncClient")
        flow = self._flow(request)
        answer: Any = None
        while (step := _next(flow, answer)) is not None:
            if step is request:
                answer = yield request
            elif isinstance(step, float):
                time.sleep(step)
            else:
                answer = step()

    async def async_auth_flow(self, request: Any) -> AsyncIterator[Any]:
        flow = self._flow(request)
        answer: Any = None
        while (step := _next(flow, answer)) is not None:
            if step is request:
                answer = yield request
            elif isinstance(step, float):
                await asyncio.sleep(step)
            else:
                answer = await sync_to_async(step)()

    def _flow(self, request: Any) -> Generator[Any, Any, None]:
        """Yield the steps of one call: seconds to sleep, a function that may use the database, or the request to send."""
        url = str(request.url)
        credentials.require_destination(url)
        if not credentials.is_mcp(url):
            raise OntraportRejected(
                "This auth is for ONTRAPORT_MCP_URL; the REST API is called with account.rest().", code="destination"
            )
        yield partial(credentials.prepare, self.account)
        sent, response = yield from self._send(request)
        if response.status_code == 401 and self.account.method == Method.OAUTH:
            yield partial(credentials.renew, self.account, sent=sent)
            yield from self._send(request)

    def _send(self, request: Any) -> Generator[Any, Any, tuple[OntraportAccount, Any]]:
        turn = yield partial(rate_limiter.reserve, self.account, patience=waiting.longest_wait())
        while turn.wait:
            yield turn.wait
            turn = yield partial(rate_limiter.confirm, turn)
        sent = credentials.snapshot(self.account)
        _attach(request, sent)
        response = yield request
        yield partial(rate_limiter.note_answer, self.account, turn, response.status_code, response.headers)
        return sent, response


def _attach(request: Any, sent: OntraportAccount) -> None:
    request.headers["Authorization"] = reveal(credentials.bearer(sent))


def _next(flow: Generator[Any, Any, None], answer: Any) -> Any:
    try:
        return flow.send(answer)
    except StopIteration:
        return None
