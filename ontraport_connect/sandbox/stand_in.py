"""REST and MCP together: who is asking, how often they may, and which of the two answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from . import rest
from .accounts import Account, account_with_key
from .mcp_server import McpServer
from .messages import Refused, Reply, Request, json_reply, text_reply
from .records import Records
from .request_log import RequestLog
from .rolling_window import RollingWindow
from .switches import Switches

SCOPE = "mcp:tools"

Clock = Callable[[], float]
TokenAccount = Callable[[str], Account | None]


class StandIn:
    """The stand-in's state and its answers. ``origin`` is where its MCP server is; ``clock`` gives Unix seconds."""

    def __init__(self, origin: str, token_account: TokenAccount, *, clock: Clock = time.time) -> None:
        self.origin = origin
        self.clock = clock
        self.switches = Switches()
        self.log = RequestLog()
        self._token_account = token_account
        self._window = RollingWindow(self.switches, clock)
        self._mcp = McpServer(self.switches, clock)
        self._seeding = threading.Lock()
        self.seed()

    def records_of(self, account: Account) -> Records:
        """Return the records of an account, made when they are first asked for."""
        with self._seeding:
            if account.username not in self._records:
                self._records[account.username] = Records(account, minimum=self._contacts, clock=self.clock)
            return self._records[account.username]

    def reset(self) -> None:
        """Set all switches, counts and records to what they were at the start."""
        self.switches.reset()
        self._window.clear()
        self._mcp.clear()
        self.log.clear()
        self.seed()

    def seed(self) -> None:
        """Set all records to what they were at the start, with as many contacts as are set."""
        with self._seeding:
            self._records: dict[str, Records] = {}
            self._contacts = self.switches.settings.contacts

    @property
    def issuer(self) -> str:
        return self.switches.settings.issuer or self.origin

    def rest(self, request: Request) -> Reply:
        account = account_with_key(request.header("api-appid"), request.header("api-key"))
        return rest.unauthenticated() if account is None else self._limited(account, request, rest.answer)

    def mcp(self, request: Request) -> Reply:
        account = self._caller(request)
        return self._unauthorized() if account is None else self._limited(account, request, self._mcp.answer)

    def _limited(self, account: Account, request: Request, answer: Callable[[Records, Request], Reply]) -> Reply:
        allowance = self._window.take(account.account_id)
        reply = answer(self.records_of(account), request) if allowance.allowed else self._too_many(request)
        return replace(reply, headers={**reply.headers, **allowance.headers})

    def _too_many(self, request: Request) -> Reply:
        """Return 429; or, where errors come inside results, a result that says so to who calls a tool."""
        text = "Rate limit exceeded."
        if self.switches.settings.mcp_errors_in_results and request.path == "/":
            message = _message(request.body)
            if message.get("method") == "tools/call":
                result = self._mcp.failed(Refused(429, text))
                return json_reply({"jsonrpc": "2.0", "id": message.get("id"), "result": result})
        return text_reply(text, 429)

    def _caller(self, request: Request) -> Account | None:
        """Return the account of a bearer token, of ``Bearer <app-id>:<api-key>``, or of the two headers of REST."""
        forms = self.switches.settings.mcp_keys
        scheme, _, credentials = request.header("authorization").partition(" ")
        if scheme.lower() != "bearer":
            pair = (request.header("api-appid"), request.header("api-key"))
            return account_with_key(*pair) if forms != "bearer" else None
        app_id, separator, api_key = credentials.partition(":")
        if separator:
            return account_with_key(app_id, api_key) if forms != "headers" else None
        return self._token_account(credentials)

    def _unauthorized(self) -> Reply:
        metadata = f"{self.origin}/.well-known/oauth-protected-resource"
        return json_reply(
            {"error": "unauthorized", "error_description": "Bearer token required"},
            401,
            {"WWW-Authenticate": f'Bearer resource_metadata="{metadata}", scope="{SCOPE}"'},
        )


def _message(body: bytes) -> dict[str, object]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
