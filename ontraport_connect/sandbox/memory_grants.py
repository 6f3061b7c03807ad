"""An authorization server in memory, for tests in one process. The stand-in that runs as a server has django-oauth-toolkit instead."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from .accounts import Account
from .messages import Reply, Request, json_reply
from .switches import Switches

INVALID_GRANT = "invalid_grant"


@dataclass(eq=False, kw_only=True)
class Grant:
    """What began with one consent. ``spent`` maps refresh tokens to when they were spent (Unix seconds)."""

    account: Account
    client_id: str
    scope: str
    access_token: str = ""
    refresh_token: str = ""
    expires_at: float = 0
    refreshable_until: float = float("inf")
    spent: dict[str, float] = field(default_factory=dict, repr=False)
    is_alive: bool = True
    refreshes: int = 0


@dataclass(frozen=True, kw_only=True)
class Code:
    grant: Grant
    challenge: str
    redirect_uri: str


class MemoryGrants:
    """Grants, and the three endpoints that make, refresh and end them. ``clock`` gives Unix seconds."""

    def __init__(self, switches: Switches, clock: Callable[[], float]) -> None:
        self._switches = switches
        self._clock = clock
        self._codes: dict[str, Code] = {}
        self.all: list[Grant] = []

    def new(self, account: Account, client_id: str, scope: str) -> Grant:
        """Return a new grant with tokens."""
        grant = Grant(account=account, client_id=client_id, scope=scope)
        self.all.append(grant)
        self._renew(grant)
        return grant

    def _renew(self, grant: Grant) -> None:
        settings = self._switches.settings
        grant.access_token, grant.refresh_token = (secrets.token_urlsafe(24) for _ in range(2))
        grant.expires_at = self._clock() + settings.access_token_lifetime
        lifetime = settings.refresh_token_lifetime
        grant.refreshable_until = self._clock() + lifetime if lifetime else float("inf")

    def account_of(self, token: str) -> Account | None:
        """Return whose account a valid access token opens."""
        for grant in self.all:
            if grant.access_token == token and grant.is_alive and grant.expires_at > self._clock():
                return grant.account
        return None

    def expire(self) -> None:
        """End all access tokens, and leave the grants."""
        for grant in self.all:
            grant.expires_at = self._clock()

    def revoke(self, grants: Iterable[Grant]) -> None:
        """End grants, and with each all others of the same person and client where these are one (RFC 7009, 2.1)."""
        for ended in list(grants):
            for grant in self.all:
                same = (grant.account, grant.client_id) == (ended.account, ended.client_id)
                if grant is ended or (same and self._switches.settings.one_grant_per_client):
                    grant.is_alive = False

    def consent(self, authorization_url: str, account: Account, *, issuer: str, allow: bool = True) -> str:
        """Answer an authorization request as a person does, and return the URL that the browser is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(authorization_url).query).items()}
        answer = {"state": asked.get("state", ""), "iss": issuer}
        if allow:
            code = secrets.token_urlsafe(16)
            grant = Grant(account=account, client_id=asked["client_id"], scope=asked.get("scope", ""))
            self._codes[code] = Code(
                grant=grant, challenge=asked.get("code_challenge", ""), redirect_uri=asked["redirect_uri"]
            )
            answer["code"] = code
        else:
            answer["error"] = "access_denied"
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def token(self, request: Request) -> Reply:
        """Answer a token request (RFC 6749, 4.1.3 and 6)."""
        form = request.form()
        kind = form.get("grant_type", "")
        self._switches.count(f"token:{kind}" if kind in {"authorization_code", "refresh_token"} else "token:other")
        if kind == "authorization_code":
            return self._exchange(form)
        return self._refresh(form) if kind == "refresh_token" else _error("unsupported_grant_type")

    def _exchange(self, form: dict[str, str]) -> Reply:
        code = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if code is None or code.challenge != challenge or code.redirect_uri != form.get("redirect_uri"):
            return _error(INVALID_GRANT)
        self.all.append(code.grant)
        self._renew(code.grant)
        return self._tokens(code.grant)

    def _refresh(self, form: dict[str, str]) -> Reply:
        token, now = form.get("refresh_token", ""), self._clock()
        for grant in self.all:
            if not grant.is_alive or grant.client_id != form.get("client_id"):
                continue
            if grant.refresh_token == token and now < grant.refreshable_until:
                grant.spent[token] = now
                grant.refreshes += 1
                self._renew(grant)
                return self._tokens(grant)
            if token in grant.spent:
                return self._reused(grant, now - grant.spent[token])
        return _error(INVALID_GRANT)

    def _reused(self, grant: Grant, age: float) -> Reply:
        """Answer with the same tokens again within the grace period; after it the whole grant ends (RFC 9700, 4.14.2)."""
        if age < self._switches.settings.refresh_token_grace:
            return self._tokens(grant)
        self._switches.count("reuse_detected")
        grant.is_alive = False
        return _error(INVALID_GRANT)

    def _tokens(self, grant: Grant) -> Reply:
        settings = self._switches.settings
        expiry = {"expires_in": settings.access_token_lifetime} if settings.send_expires_in else {}
        message = {
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
            "token_type": "Bearer",
            "scope": grant.scope,
            **expiry,
        }
        return json_reply(message)

    def end(self, request: Request) -> Reply:
        """Answer a revocation request (RFC 7009): 200 whether the token was known or not."""
        self._switches.count("revoke")
        token = request.form().get("token", "")
        self.revoke(grant for grant in self.all if token in {grant.refresh_token, grant.access_token})
        return Reply()


def _error(code: str) -> Reply:
    return json_reply({"error": code}, 400)
