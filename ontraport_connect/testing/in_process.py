"""Answers what the app sends, from the stand-in's logic in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

from requests.structures import CaseInsensitiveDict

from ontraport_connect.protocol import Answer
from ontraport_connect.sandbox import Account, MemoryGrants, Reply, Request, StandIn, apply_fault, endpoint_of

APP, MCP, API = "https://app.ontraport.test", "https://mcp.ontraport.test", "https://api.ontraport.test"
"""Addresses that lead nowhere: names under ``.test`` do not exist (RFC 6761, 6.2), so that no other client reaches anything either."""

NETWORK_ERRORS: Mapping[str, type[OSError]] = {
    "connection": ConnectionRefusedError,
    "timeout": TimeoutError,
    "lost": ConnectionResetError,
}
"""What a fault raises instead of an answer. After ``timeout`` and ``lost`` the request was carried out."""


class InProcess:
    """The stand-in, its grants. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.stand_in = StandIn(MCP, self._account_of, clock=clock)
        self.grants = MemoryGrants(self.stand_in.switches, clock)
        self._clock = clock

    def _account_of(self, token: str) -> Account | None:
        return self.grants.account_of(token)

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request. Raises ``OSError`` for one that goes elsewhere, or where a fault wants it."""
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" not in {APP, MCP, API}:
            raise ConnectionRefusedError(f"There is no network in this test: {parts.netloc} was not called.")
        request = Request(
            method=method,
            path=parts.path or "/",
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in headers.items()},
            body=body,
        )
        reply = self._reply(request)
        received = CaseInsensitiveDict({**reply.headers, "Content-Type": reply.content_type})
        return Answer(status=reply.status, headers=received, body=reply.body)

    def _reply(self, request: Request) -> Reply:
        target = endpoint_of(request.method, request.path) or "mcp"
        if target in {"mcp", "rest"}:
            self.stand_in.switches.count(target)
        fault = self.stand_in.switches.take_fault(target)
        kind = fault.kind if fault else ""
        if kind == "connection":
            raise NETWORK_ERRORS[kind]
        replaced = None if kind in NETWORK_ERRORS else fault
        reply = apply_fault(replaced, lambda: self._handled(target, request), _no_sleep)
        self.stand_in.log.add(request, reply, at=self._clock())
        if kind in NETWORK_ERRORS:
            raise NETWORK_ERRORS[kind]
        return reply

    def _handled(self, target: str, request: Request) -> Reply:
        match target:
            case "rest":
                return self.stand_in.rest(request)
            case "token":
                return self.grants.token(request)
            case "revoke":
                return self.grants.end(request)
        return self.stand_in.mcp(request)


def _no_sleep(seconds: float) -> None:
    """Wait for nothing: a test does not."""
