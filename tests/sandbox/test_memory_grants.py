"""The authorization server in memory, its faults, and the log: without a process."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from ontraport_connect.sandbox import (
    ACCOUNTS,
    CHOICES,
    LESSONS,
    Fault,
    MemoryGrants,
    Reply,
    Request,
    StandIn,
    account_of,
    apply_fault,
    endpoint_of,
    is_lost,
)
from tests.support.stand_in import FORM, Caller, Clock

OWNER = ACCOUNTS["owner"]
CALLBACK = "https://shop.example.com/ontraport/callback/"


@pytest.fixture
def grants(stand_in: StandIn, clock: Clock) -> MemoryGrants:
    return MemoryGrants(stand_in.switches, clock)


def posted(path: str, **form: str) -> Request:
    return Request(method="POST", path=path, headers=FORM, body=urlencode(form).encode())


def ask(grants: MemoryGrants, **form: str) -> Any:
    return json.loads(grants.token(posted("/oauth/token", **form)).body)


def refresh(grants: MemoryGrants, token: str, client_id: str = "shop") -> Any:
    return ask(grants, grant_type="refresh_token", refresh_token=token, client_id=client_id)


def consented(grants: MemoryGrants, **more: str) -> dict[str, str]:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"verifier").digest()).decode().rstrip("=")
    query = {"client_id": "shop", "redirect_uri": CALLBACK, "state": "abc", "code_challenge": challenge, **more}
    url = grants.consent(f"https://as.example/authorize?{urlencode(query)}", OWNER, issuer="https://as.example")
    assert url.startswith(CALLBACK)
    return {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}


def test_a_code_is_exchanged_once_and_by_who_has_the_verifier(grants: MemoryGrants) -> None:
    callback = consented(grants)
    assert (callback["state"], callback["iss"]) == ("abc", "https://as.example")
    form = {"grant_type": "authorization_code", "code": callback["code"], "redirect_uri": CALLBACK}
    tokens = ask(grants, **form, code_verifier="verifier")
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert grants.account_of(tokens["access_token"]) is OWNER
    assert ask(grants, **form, code_verifier="verifier") == {"error": "invalid_grant"}
    form["code"] = consented(grants)["code"]
    assert ask(grants, **form, code_verifier="another") == {"error": "invalid_grant"}


def test_a_person_may_say_no(grants: MemoryGrants) -> None:
    query = urlencode({"client_id": "shop", "redirect_uri": CALLBACK})
    url = grants.consent(f"https://as.example/?{query}", OWNER, issuer="https://as.example", allow=False)
    assert parse_qs(urlsplit(url).query)["error"] == ["access_denied"]


def test_other_grant_types_are_not_supported(grants: MemoryGrants) -> None:
    assert ask(grants, grant_type="password") == {"error": "unsupported_grant_type"}


def test_a_refresh_rotates_and_a_spent_token_ends_the_grant(grants: MemoryGrants, stand_in: StandIn) -> None:
    grant = grants.new(OWNER, "shop", "mcp:tools")
    first, access = grant.refresh_token, grant.access_token
    assert refresh(grants, first, client_id="other") == {"error": "invalid_grant"}
    second = refresh(grants, first)
    assert grants.account_of(access) is None
    assert refresh(grants, first) == {"error": "invalid_grant"}
    assert refresh(grants, second["refresh_token"]) == {"error": "invalid_grant"}
    assert stand_in.switches.snapshot()["counts"]["reuse_detected"] == 1


def test_within_the_grace_period_a_spent_token_gives_the_same_again(
    grants: MemoryGrants, stand_in: StandIn, clock: Clock
) -> None:
    stand_in.switches.change({"refresh_token_grace": 10, "send_expires_in": False})
    first = grants.new(OWNER, "shop", "mcp:tools").refresh_token
    second = refresh(grants, first)
    assert "expires_in" not in second
    clock.now += 9
    assert refresh(grants, first) == second
    clock.now += 1
    assert refresh(grants, first) == {"error": "invalid_grant"}


def test_a_refresh_token_may_end(grants: MemoryGrants, stand_in: StandIn, clock: Clock) -> None:
    stand_in.switches.change({"refresh_token_lifetime": 60})
    token = grants.new(OWNER, "shop", "mcp:tools").refresh_token
    clock.now += 60
    assert refresh(grants, token) == {"error": "invalid_grant"}


@pytest.mark.parametrize("is_one", [True, False])
def test_revoking_one_grant_may_end_the_others(grants: MemoryGrants, stand_in: StandIn, *, is_one: bool) -> None:
    stand_in.switches.change({"one_grant_per_client": is_one})
    first, second, other = (grants.new(OWNER, client, "mcp:tools") for client in ("shop", "shop", "other"))
    assert grants.end(posted("/oauth/revoke", token=first.access_token)).status == 200
    assert (first.is_alive, second.is_alive, other.is_alive) == (False, not is_one, True)
    assert grants.end(posted("/oauth/revoke", token="unknown")).status == 200


def test_all_access_tokens_end_and_the_grants_stay(grants: MemoryGrants) -> None:
    grant = grants.new(OWNER, "shop", "mcp:tools")
    grants.expire()
    assert grants.account_of(grant.access_token) is None
    assert "access_token" in refresh(grants, grant.refresh_token)


@pytest.mark.parametrize(
    ("fault", "status", "slept", "handled"),
    [
        (None, 200, [], 1),
        (Fault(kind="500"), 500, [], 0),
        (Fault(kind="429"), 429, [], 0),
        (Fault(kind="429", retry_after="7"), 429, [], 0),
        (Fault(kind="nonsense"), 200, [], 0),
        (Fault(kind="invalid_client"), 401, [], 0),
        (Fault(kind="hang", seconds=3), 503, [3], 0),
        (Fault(kind="slow", seconds=3), 200, [3], 1),
        (Fault(kind="late", seconds=3), 200, [3], 1),
        (Fault(kind="lost"), 0, [], 1),
    ],
)
def test_faults(fault: Fault | None, status: int, slept: list[float], handled: int) -> None:
    waits: list[float] = []
    calls: list[int] = []

    def handle() -> Reply:
        calls.append(1)
        return Reply()

    reply = apply_fault(fault, handle, waits.append)
    assert (reply.status, waits, len(calls), is_lost(reply)) == (status, slept, handled, status == 0)
    assert reply.headers == ({"Retry-After": "7"} if fault and fault.retry_after else {})


def test_endpoints_have_names() -> None:
    found = [endpoint_of("POST", path) for path in ("/1/objects", "/", "/oauth/token", "/login")]
    assert found == ["rest", "mcp", "token", None]
    assert endpoint_of("GET", "/") is None


def test_every_switch_says_what_it_teaches(stand_in: StandIn) -> None:
    settings = stand_in.switches.snapshot().keys() - {"faults", "counts"}
    assert {*LESSONS} == settings
    assert {*CHOICES} < settings


def test_the_log_shows_what_was_sent_and_no_secret(caller: Caller, stand_in: StandIn) -> None:
    log = stand_in.log
    log.add(
        posted("/oauth/token", grant_type="refresh_token", refresh_token="R-secret", surprise="S-secret"),
        Reply(body=b'{"access_token": "A-secret"}'),
        at=1.0,
    )
    sale = {"payer": {"ccnumber": "4111-secret"}, "list": [{"Api_Key": "K-secret"}], "note": "x" * 700}
    request = Request(method="POST", path="/1/objects", headers={"api-key": "K-secret"}, body=json.dumps(sale).encode())
    log.add(request, Reply(status=400, body=b"No such field", content_type="text/plain"), at=2.0)
    headers = {"authorization": "Bearer id:K-secret"}
    log.add(Request(method="POST", path="/", headers=headers, body=b"["), Reply(), at=3.0)
    log.add(Request(method="GET", path="/1/x", headers={"authorization": "Bearer T-secret"}), Reply(), at=4.0)
    entries = log.entries()
    assert "secret" not in json.dumps(entries)
    assert [entry["credentials"] for entry in entries] == [
        "Bearer token",
        "Bearer app id:key",
        "Api-Appid, Api-Key",
        "",
    ]
    assert entries[1]["sent"] == "The body is neither a JSON object nor a form."
    assert (entries[2]["answer"], entries[2]["sent"].endswith(" …")) == ("No such field", True)
    assert json.loads(entries[3]["sent"]) == {"grant_type": "refresh_token", "refresh_token": "•••", "surprise": "•••"}
    stand_in.reset()
    assert log.entries() == []


def test_who_is_not_there_has_no_account() -> None:
    assert (account_of("owner"), account_of("nobody")) == (OWNER, None)
