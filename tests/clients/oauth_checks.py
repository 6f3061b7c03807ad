"""Every OAuth client: consent, code with PKCE, refresh, reuse, revocation, and each switch that concerns them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ontraport_connect.sandbox import FAULT_KINDS
from tests.clients.installed import Client
from tests.clients.judging import Expected, Ledger
from tests.clients.running import Outcome, Program, Site
from tests.support.sandbox_client import REDIRECT_URI

ANY_WORDS = "."
INVALID_GRANT = "invalid_grant"
TOKENS = Expected(answer={"scope": "mcp:tools", "expires_in": 3600})
GONE = Expected(refusal=INVALID_GRANT)
UNAUTHORIZED = Expected(refusal="401|unauthorized|expired|token_invalid|WWW-Authenticate")
CALL = {"name": "get_account_info", "arguments": {}}
MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}
ACCOUNT = Expected(answer={"result": {"structuredContent": {"account_id": 187157}, "isError": False}})
SECRET = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
KINDS = {
    "a confidential client": SECRET,
    "a public client": {"client_id": "sandbox-public", "client_secret": ""},
    "a registered client": {"client_id": "", "client_secret": ""},
}
DELAYS = {"slow", "late"}


@dataclass(kw_only=True)
class Trial:
    """One client in one setting. Each method is a request and adds a row."""

    client: Client
    ledger: Ledger
    program: Program
    site: Site
    setting: str

    def note(self, request: str, outcome: Outcome, expected: Expected) -> Any:
        self.ledger.note(self.setting, request, outcome, expected)
        return outcome.value or {}

    def link(self, expected: Expected = TOKENS, *, client: dict[str, str] = SECRET) -> Any:
        outcome = self.program.do("link", url=self.site.url, redirect_uri=REDIRECT_URI, **client)
        return self.note("consent and code", outcome, expected)

    def refresh(self, expected: Expected = TOKENS, *, token: str | None = None, request: str = "refresh") -> Any:
        return self.note(request, self.program.do("refresh", token=token), expected)

    def resource(self, expected: Expected = ACCOUNT) -> None:
        if "resource" in self.client.can:
            outcome = self.program.do("resource", url=f"{self.site.url}/", message=MESSAGE)
            self.note("tools/call with the token", outcome, expected)

    def revoke(self, expected: Expected | None = None) -> None:
        """Revoke as the client does, or as the customer does where it cannot."""
        if "revoke" not in self.client.can:
            self.site.control("revoke")
            return
        outcome = self.program.do("revoke")
        done = outcome if outcome.error else Outcome(value=True)
        self.note("revoke", done, expected or Expected(answer=True))


def whole_way(trial: Trial) -> None:
    for setting, client in KINDS.items():
        if not client["client_id"] and "register" not in trial.client.can:
            continue
        trial.setting = setting
        trial.site.begin()
        first = trial.link(client=client)
        issuer = Outcome(value=trial.program.person.callbacks[-1].get("iss"))
        trial.note("iss of the callback", issuer, Expected(answer=trial.site.url))
        trial.resource()
        second = trial.refresh()
        is_new = all(first.get(name) != second.get(name) for name in ("access_token", "refresh_token"))
        trial.note("both tokens are new", Outcome(value=is_new), Expected(answer=True))
        trial.resource()
        trial.revoke()
        trial.resource(UNAUTHORIZED)
        trial.refresh(GONE, token=second.get("refresh_token"), request="refresh after it was revoked")


def reuse(trial: Trial) -> None:
    trial.setting = "a spent refresh token"
    trial.site.begin()
    first = trial.link()
    second = trial.refresh()
    trial.refresh(GONE, token=first.get("refresh_token"), request="refresh with the spent one")
    trial.refresh(GONE, token=second.get("refresh_token"), request="refresh with its successor")
    trial.resource(UNAUTHORIZED)
    trial.setting = "a spent refresh token, within a grace period"
    trial.site.begin(refresh_token_grace=60)
    first = trial.link()
    trial.refresh()
    trial.refresh(token=first.get("refresh_token"), request="refresh with the spent one")
    trial.resource()


def lifetimes(trial: Trial) -> None:
    trial.setting = "no expires_in"
    trial.site.begin(send_expires_in=False)
    trial.link(Expected(answer={"scope": "mcp:tools", "expires_in": None}))
    trial.refresh(Expected(answer={"scope": "mcp:tools", "expires_in": None}))
    trial.resource()
    short = Expected(answer={"expires_in": 1})
    trial.setting = "access tokens of one second"
    trial.site.begin(access_token_lifetime=1)
    trial.link(short)
    time.sleep(1.2)
    trial.resource(UNAUTHORIZED)
    trial.site.control("settings", access_token_lifetime=3600)
    trial.refresh()
    trial.resource()
    trial.setting = "refresh tokens of one second"
    trial.site.begin(refresh_token_lifetime=1)
    trial.link()
    time.sleep(1.2)
    trial.refresh(GONE)


def two_grants(trial: Trial) -> None:
    for is_one in (True, False):
        trial.setting = f"one grant per client: {'on' if is_one else 'off'}"
        trial.site.begin(one_grant_per_client=is_one)
        first = trial.link()
        trial.link()
        if "revoke" in trial.client.can:
            trial.revoke()
            expected = GONE if is_one else TOKENS
            trial.refresh(expected, token=first.get("refresh_token"), request="refresh of the other grant")


def refusals(trial: Trial) -> None:
    trial.setting = "consent is denied"
    trial.site.begin()
    trial.program.person.allows = False
    # Authlib finds no code, and asks for tokens all the same.
    trial.link(Expected(refusal="access_denied|unsupported_grant_type"))
    error = Outcome(value=trial.program.person.callbacks[-1].get("error"))
    trial.note("error of the callback", error, Expected(answer="access_denied"))
    trial.program.person.allows = True
    trial.setting = "a wrong secret"
    trial.link(Expected(refusal="invalid_client"), client={**SECRET, "client_secret": "another"})
    trial.setting = "another issuer"
    trial.site.begin(issuer="https://elsewhere.example")
    trial.link(Expected(refusal="iss") if "issuer" in trial.client.can else TOKENS)


def faults(trial: Trial) -> None:
    """A fault of the token endpoint is never taken for tokens, and a lost answer has spent what it answers."""
    for kind in (kind for kind in FAULT_KINDS if kind != "none"):
        trial.setting = f"fault: {kind}"
        trial.site.begin()
        first = trial.link()
        trial.site.control("settings", fault=kind, fault_target="token", fault_seconds=0.2)
        expected = TOKENS if kind in DELAYS else Expected(refusal=ANY_WORDS)
        second = trial.refresh(expected)
        trial.link(expected)
        trial.site.control("settings", fault="none", fault_target="token")
        is_spent = kind == "lost"
        token = second.get("refresh_token") or first.get("refresh_token")
        trial.refresh(GONE if is_spent else TOKENS, token=token, request="refresh once it is over")
        trial.link()
        if "revoke" in trial.client.can and kind in {"500", "hang"}:
            trial.site.control("settings", fault=kind, fault_target="revoke", fault_seconds=0.2)
            trial.revoke(Expected(refusal=ANY_WORDS))
            trial.site.control("settings", fault="none", fault_target="revoke")
            trial.revoke()


CHECKS: tuple[Callable[[Trial], None], ...] = (whole_way, reuse, lifetimes, two_grants, refusals, faults)


def check(client: Client, ledger: Ledger, program: Program, site: Site, wanted: str) -> None:
    """Run all checks of which the name matches ``wanted``, a regular expression."""
    trial = Trial(client=client, ledger=ledger, program=program, site=site, setting="")
    for each in CHECKS:
        if re.search(wanted, each.__name__):
            each(trial)
    site.note()
