"""Everything of Ontraport that a link meets, as strict as ``strict_server``: consent, a code that works once, and the API."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.answering import Answering, Asked, Reply, as_json, envelope
from tests.support.servers import HOST
from tests.support.strict_server import Connection, StrictServer, TokenEndpoint

LIFETIME = 3600.0
"""Lifetime of an access token in seconds."""


class Ontraport(TokenEndpoint):
    """Issues grants ``g1``, ``g2`` …, each for the account of the person who was asked. ``clock`` is in seconds, and the test moves it.

    ``heard`` lists the refresh tokens that were sent here, whether or not they were accepted. ``clients``: the client ids
    that came with them. ``refusals`` is how often the API refuses a
    valid token.
    """

    endpoint_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.client_secret = "strict-secret"
        self.codes: dict[str, Mapping[str, str]] = {}
        self.numbers: dict[str, str] = {}
        self.good_until: dict[str, float] = {}
        self.clock = 0.0
        self.heard: list[str] = []
        self.clients: set[str] = set()
        self.refusals = 0

    def authorize(self, asked: Mapping[str, str]) -> str:
        """Answer the consent page and return where the browser is sent. ``number`` is the account of the person; without it the person
        denies.
        """
        answer = {"state": asked["state"], "iss": self.endpoint_url}
        if asked.get("number"):
            answer["code"] = secrets.token_urlsafe(16)
            self.codes[answer["code"]] = asked
        else:
            answer["error"] = "access_denied"
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def exchange(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Return tokens for a code, once, to a client that knows its verifier (RFC 7636, 4.6)."""
        asked = self.codes.pop(form["code"], None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        if asked is None or (asked["code_challenge"], asked["redirect_uri"]) != (challenge, form["redirect_uri"]):
            return 400, {"error": "invalid_grant"}
        name = f"g{len(self.numbers) + 1}"
        self.numbers[name] = asked["number"]
        self.good_until[name] = self.clock + LIFETIME
        serial = self.grant(name).serial
        tokens = {"access_token": f"a.{name}.{serial}", "refresh_token": f"r.{name}.{serial}"}
        return 200, {**tokens, "token_type": "Bearer", "expires_in": self.lifetime}

    def refresh(self, refresh_token: str) -> tuple[int, dict[str, Any]]:
        status, members = super().refresh(refresh_token)
        if status == 200:
            self.good_until[refresh_token.split(".")[1]] = self.clock + LIFETIME
        return status, members

    def revoke(self, refresh_token: str) -> None:
        """End all grants of this person and client, as a server may (RFC 7009, 2.1)."""
        number = self.numbers[refresh_token.split(".")[1]]
        for name, grant in self.grants.items():
            if self.numbers[name] == number:
                grant.alive = False

    def accepts(self, access_token: str) -> bool:
        if self.refusals:
            self.refusals -= 1
            return False
        _, name, serial = access_token.split(".")
        grant = self.grant(name)
        return grant.alive and int(serial) == grant.serial and self.good_until[name] > self.clock

    def serve_api(self, asked: Asked) -> Reply:
        """Answer REST, and as much of MCP as tells which account a token opens."""
        token = asked.headers["Authorization"].removeprefix("Bearer ")
        if not self.accepts(token):
            return Reply(status=401)
        if asked.path != "/mcp":
            return envelope([])
        sent = json.loads(asked.body)
        if "id" not in sent:
            return Reply(status=202)
        text = json.dumps({"account_id": self.numbers[token.split(".")[1]]})
        result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
        if sent["method"] == "initialize":
            server = {"name": "strict", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": server}
        return as_json({"jsonrpc": "2.0", "id": sent["id"], "result": result})


class Door(Connection):
    """Apply the fault set for refreshes (see ``Behaviour``) to the exchange of a code and, unless it is a wrong 200, to a revocation."""

    endpoint: Ontraport

    def serve(self, path: str, form: dict[str, str]) -> None:
        endpoint, ailing = self.endpoint, self.endpoint.behaviour_for("")
        if path.startswith("/authorize?"):
            self.send(302, {}, {"Location": endpoint.authorize(dict(parse_qsl(urlsplit(path).query)))})
            return
        is_refresh = form.get("grant_type") == "refresh_token"
        if is_refresh:
            endpoint.heard.append(form["refresh_token"])
            endpoint.clients.add(form["client_id"])
        if ailing.hold:
            return
        if ailing.status and (ailing.status, path) != (200, "/revoke"):
            self.send(ailing.status, dict(ailing.members), ailing.headers)
        elif form["client_secret"] != endpoint.client_secret:
            self.send(401, {"error": "invalid_client"})
        elif ailing.cut and not is_refresh:
            self.transport.close()
        elif form.get("grant_type") == "authorization_code":
            self.send(*endpoint.exchange(form))
        else:
            super().serve(path, form)


class StrictProvider(StrictServer):
    """Two servers in threads of the test: one that issues tokens, and the API that accepts them."""

    endpoint: Ontraport

    def __enter__(self) -> Self:
        self.thread.start()
        self.endpoint = self.run(Ontraport)
        listening = asyncio.run_coroutine_threadsafe(
            self.loop.create_server(lambda: Door(self.endpoint), HOST, 0, backlog=100), self.loop
        )
        self.server = listening.result(10)
        self.url = f"http://{HOST}:{self.server.sockets[0].getsockname()[1]}"
        self.endpoint.endpoint_url = self.url
        self.api = Answering(self.endpoint.serve_api).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.api.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a site that uses this as Ontraport."""
        settings = super().settings
        return {
            **settings,
            "ONTRAPORT_ENDPOINTS": {**settings["ONTRAPORT_ENDPOINTS"], "issuer": self.url},
            "ONTRAPORT_REDIRECT_URI": "https://testserver/ontraport/callback/",
            "ONTRAPORT_MCP_URL": f"{self.api.url}/mcp",
            "ONTRAPORT_REST_URL": f"{self.api.url}/1/",
        }
