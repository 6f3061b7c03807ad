"""What the token endpoint answers, and what becomes of it: one documented verdict each."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)
from ontraport_connect.protocol.http import Transport
from ontraport_connect.protocol.oauth import (
    ASSUMED_LIFETIME,
    LONGEST_LIFETIME,
    PRESETS,
    Client,
    Endpoints,
    Grant,
    challenge_of,
    lifetime_of,
    new_verifier,
)
from ontraport_connect.protocol.retry_after import LONGEST_PAUSE, RATE_LIMIT_PAUSE, pause_of, retry_after
from tests.support.hostile_server import HostileServer, KeepAlive, answer, hostile_server
from tests.support.memory import growth_of

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "200"))
DEADLINE = 3.0
"""Seconds in which every answer has its verdict: those to connect and those to read."""

GOOD = {
    "access_token": "access",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "next",
    "scope": "mcp:tools",
}


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture(scope="module")
def transport() -> Iterator[Transport]:
    with Transport(timeout=(1, 2)) as transport:
        yield transport


def client_of(server: HostileServer, **differences: Any) -> Client:
    endpoints = Endpoints(
        issuer=server.url,
        authorization_endpoint=f"{server.url}/authorize",
        token_endpoint=f"{server.url}/token",
        revocation_endpoint=f"{server.url}/revoke",
        registration_endpoint=f"{server.url}/register",
    )
    values: dict[str, Any] = {
        "client_id": "id",
        "client_secret": Secret("canary-secret"),
        "endpoints": endpoints,
        "scopes": ("mcp:tools",),
        "resource": "https://mcp.example",
    }
    return Client(**{**values, **differences})


def refresh(
    server: HostileServer, transport: Transport, body: object, status: str = "200 OK", headers: str = ""
) -> Grant:
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    server.behaviour = KeepAlive(answer(content, status=status, headers=headers))
    return client_of(server).refresh(transport, Secret("canary-refresh"))


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def raw_member(name: str, text: str) -> str:
    """The good answer with one member written just so."""
    return json.dumps({**GOOD, name: "@"}).replace('"@"', text)


REFUSED: dict[str, object] = {
    "nothing": "",
    "blanks": "   ",
    "HTML": "<!doctype html><title>Sign in</title>",
    "plain text": "ok",
    "a form": "access_token=access&token_type=bearer",
    "XML": "<?xml version='1.0'?><token>access</token>",
    "JSONP": f"callback({json.dumps(GOOD)})",
    "not UTF-8": json.dumps(GOOD).encode().replace(b"access", b"acc\xffss"),
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    "cut short": json.dumps(GOOD)[:-1],
    "two documents": json.dumps(GOOD) * 2,
    "a trailing comma": json.dumps(GOOD)[:-1] + ",}",
    "single quotes": str(GOOD),
    "a comment": "/* hello */" + json.dumps(GOOD),
    "null": "null",
    "true": "true",
    "a number": "42",
    "a string": '"access"',
    "a list": [GOOD],
    "an empty list": [],
    "an empty object": {},
    "wrapped in data": {"data": GOOD},
    "deep lists": "[" * 50_000,
    "deep objects": '{"a":' * 50_000,
    "a deep member": json.dumps(GOOD)[:-1] + ', "x": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "a number of ten thousand digits": raw_member("expires_in", "1" * 10_000),
    "NaN": raw_member("expires_in", "NaN"),
    "Infinity": raw_member("expires_in", "Infinity"),
    "minus Infinity": raw_member("expires_in", "-Infinity"),
    "two access tokens": '{"access_token": "other", ' + json.dumps(GOOD)[1:],
    "two token types": '{"token_type": "mac", ' + json.dumps(GOOD)[1:],
    "two refresh tokens": '{"refresh_token": "other", ' + json.dumps(GOOD)[1:],
    "two unknown members": '{"x": 1, "x": 2, ' + json.dumps(GOOD)[1:],
    "a control character in a string": raw_member("access_token", '"acc\tess"'),
    "an error beside the token": {**GOOD, "error": "invalid_grant"},
    "an empty error beside the token": {**GOOD, "error": ""},
    "a null error beside the token": {**GOOD, "error": None},
    "no access token": without("access_token"),
    "no token type": without("token_type"),
    "another case of names": {name.upper(): value for name, value in GOOD.items()},
}
for name in ("access_token", "refresh_token"):
    REFUSED |= {
        f"{name}: empty": {**GOOD, name: ""},
        f"{name}: a blank": {**GOOD, name: " "},
        f"{name}: blanks around": {**GOOD, name: " token "},
        f"{name}: a blank inside": {**GOOD, name: "to ken"},
        f"{name}: a line break": {**GOOD, name: "token\r\nX-Injected: 1"},
        f"{name}: a line break at its end": {**GOOD, name: "token\n"},
        f"{name}: NUL": {**GOOD, name: "tok\0en"},
        f"{name}: DEL": {**GOOD, name: "tok\x7fen"},
        f"{name}: an escape sequence": {**GOOD, name: "\x1b[31mtoken"},
        f"{name}: umlauts": {**GOOD, name: "tökén"},
        f"{name}: a bidi mark": {**GOOD, name: "token\u202e"},
        f"{name}: a zero-width space": {**GOOD, name: "tok\u200ben"},
        f"{name}: half a surrogate": raw_member(name, '"\\ud800"'),
        f"{name}: too long": {**GOOD, name: "a" * 8193},
        f"{name}: a number": {**GOOD, name: 42},
        f"{name}: true": {**GOOD, name: True},
        f"{name}: a list": {**GOOD, name: ["token"]},
        f"{name}: an object": {**GOOD, name: {"value": "token"}},
    }
REFUSED["access_token: null"] = {**GOOD, "access_token": None}
TOKEN_TYPES: list[object] = [
    *("", " ", "mac", "MAC", "DPoP", "N_A", "bearer ", " bearer", "bearer_token", "basic", "\u0299earer"),
    *(None, 1, ["bearer"], {}, True),
]
for token_type in TOKEN_TYPES:
    REFUSED[f"token_type: {token_type!r}"] = {**GOOD, "token_type": token_type}


def test_there_are_enough_hostile_answers() -> None:
    assert len(REFUSED) >= 76


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_hostile_token_response_is_refused_with_one_typed_error_that_shows_nothing_of_it(
    server: HostileServer, transport: Transport, body: object
) -> None:
    """Of 76 hostile answers Django's and Python's usual clients take a third to two thirds as they come."""
    with pytest.raises(OntraportUnavailable) as caught:
        refresh(server, transport, body)
    assert caught.value.code == "nonsense"
    assert str(caught.value) == "Ontraport's answer could not be understood."


ACCEPTED: dict[str, Mapping[str, Any]] = {
    "as it should be": GOOD,
    "members that nobody knows": {**GOOD, "id_token": "x", "account": {"id": 1}},
    "bearer": {**GOOD, "token_type": "bearer"},
    "BEARER": {**GOOD, "token_type": "BEARER"},
    "the longest token": {**GOOD, "access_token": "a" * 8192},
    "every character that a token may have": {**GOOD, "access_token": "".join(map(chr, range(0x21, 0x7F)))},
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_a_token_response_is_read(server: HostileServer, transport: Transport, body: Mapping[str, Any]) -> None:
    grant = refresh(server, transport, dict(body))
    assert grant.access_token.reveal() == body["access_token"]
    assert grant.refresh_token is not None
    assert grant.refresh_token.reveal() == "next"
    assert (grant.lifetime, grant.scope) == (3600, frozenset({"mcp:tools"}))
    assert "access'" not in repr(grant)


@pytest.mark.parametrize("body", [without("refresh_token"), {**GOOD, "refresh_token": None}], ids=["absent", "null"])
def test_no_new_refresh_token_is_no_error(server: HostileServer, transport: Transport, body: dict[str, Any]) -> None:
    """The old one stays (RFC 6749, 6)."""
    assert refresh(server, transport, body).refresh_token is None


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("", frozenset()),
        ("mcp:tools admin", {"mcp:tools", "admin"}),
        ("  a \t b ", {"a", "b"}),
        (None, None),
        (["mcp:tools"], None),
        (7, None),
    ],
)
def test_a_scope_that_is_no_text_says_nothing(
    server: HostileServer, transport: Transport, scope: object, said: set[str] | None
) -> None:
    assert refresh(server, transport, {**GOOD, "scope": scope}).scope == said


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3600),
        (1, 1),
        (0.5, 0.5),
        (3599.9, 3599.9),
        ("3600", 3600),
        ("3600.5", 3600.5),
        (LONGEST_LIFETIME + 1, LONGEST_LIFETIME),
        (10**30, LONGEST_LIFETIME),
        (10**4000, LONGEST_LIFETIME),
        (1e308, LONGEST_LIFETIME),
        (float("inf"), LONGEST_LIFETIME),
        ("9" * 18, LONGEST_LIFETIME),
        ("9" * 19, ASSUMED_LIFETIME),
        (None, ASSUMED_LIFETIME),
        (0, ASSUMED_LIFETIME),
        (0.0, ASSUMED_LIFETIME),
        ("0", ASSUMED_LIFETIME),
        (-1, ASSUMED_LIFETIME),
        (-3600.5, ASSUMED_LIFETIME),
        ("-3600", ASSUMED_LIFETIME),
        (float("nan"), ASSUMED_LIFETIME),
        (float("-inf"), ASSUMED_LIFETIME),
        ("", ASSUMED_LIFETIME),
        (" 3600", ASSUMED_LIFETIME),
        ("1e3", ASSUMED_LIFETIME),
        ("NaN", ASSUMED_LIFETIME),
        ("inf", ASSUMED_LIFETIME),
        ("0x10", ASSUMED_LIFETIME),
        ("1_000", ASSUMED_LIFETIME),
        ("٣٦٠٠", ASSUMED_LIFETIME),
        ("soon", ASSUMED_LIFETIME),
        ("2026-11-23T00:00:00Z", ASSUMED_LIFETIME),
        (True, ASSUMED_LIFETIME),
        (False, ASSUMED_LIFETIME),
        ([3600], ASSUMED_LIFETIME),
        ({"seconds": 3600}, ASSUMED_LIFETIME),
    ],
    ids=lambda value: repr(value)[:25],
)
def test_a_lifetime_is_always_sane(expires_in: object, seconds: float) -> None:
    assert lifetime_of(expires_in) == seconds


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3))
@settings(max_examples=300, deadline=None)
def test_whatever_expires_in_is_the_lifetime_is_sane(expires_in: object) -> None:
    assert 0 < lifetime_of(expires_in) <= LONGEST_LIFETIME


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
BODIES = st.one_of(
    st.binary(max_size=300),
    st.fixed_dictionaries({}, optional=dict.fromkeys([*GOOD, "error"], JSON_VALUES)).map(json.dumps),
    st.fixed_dictionaries({name: st.just(value) | JSON_VALUES for name, value in GOOD.items()}).map(json.dumps),
)


STATUSES = (200, 201, 204, 302, 400, 401, 403, 404, 429, 500, 503)


@given(body=BODIES, status=st.sampled_from(STATUSES))
@settings(max_examples=EXAMPLES, deadline=timedelta(seconds=DEADLINE))
def test_no_body_and_no_status_is_more_than_a_grant_or_a_typed_error(
    server: HostileServer, transport: Transport, body: bytes | str, status: int
) -> None:
    is_granted(server, transport, body, status)


def is_granted(server: HostileServer, transport: Transport, body: bytes | str, status: int) -> bool:
    """Tell whether a body makes a grant, and then a sane one; what is no typed error is let through."""
    try:
        grant = refresh(server, transport, body, status=f"{status} X")
    except OntraportError:
        return False
    assert status == 200
    assert grant.access_token.reveal().isascii()
    assert 0 < grant.lifetime <= LONGEST_LIFETIME
    return True


def mutated(chance: random.Random) -> bytes:
    """The good answer with a few bytes changed, doubled, lost or moved, or one member made something else."""
    members: dict[str, object] = dict(GOOD)
    if chance.random() < 0.5:
        values: tuple[object, ...] = (
            None,
            0,
            -1,
            1e308,
            "",
            " ",
            "\0",
            [],
            {},
            True,
            "a" * 9000,
            "\u202e",
            [[]] * 50,
            {"a": 1},
        )
        members[chance.choice([*GOOD, "error", "id_token"])] = chance.choice(values)
    body = bytearray(json.dumps(members).encode())
    for _ in range(chance.choice((0, 1, 1, 2, 8))):
        at = chance.randrange(len(body) + 1)
        body[at : at + chance.choice((0, 1, 5))] = chance.randbytes(chance.choice((0, 1, 5))) or body[:at]
    return bytes(body[: chance.choice((None, None, None, chance.randrange(len(body) + 1)))])


def test_thousands_of_mutated_bodies_cost_neither_time_nor_memory(server: HostileServer, transport: Transport) -> None:
    """``HYPOTHESIS_EXAMPLES`` of them; Hypothesis itself, which remembers what it has tried, is left out of the measurement."""
    chance = random.Random(7)
    granted, slowest = 0, 0.0

    def send(count: int) -> None:
        nonlocal granted, slowest
        for _ in range(count):
            started = time.monotonic()
            granted += is_granted(server, transport, mutated(chance), chance.choice((200, 200, *STATUSES)))
            slowest = max(slowest, time.monotonic() - started)
            server.requests.clear()

    send(100)
    granted, slowest = 0, 0.0
    grown = growth_of(lambda: send(EXAMPLES))
    print(f"{EXAMPLES} bodies, {granted} grants, the slowest {slowest:.3f} s, {grown:+.1f} MB")
    assert granted
    assert slowest < DEADLINE
    assert grown < 20


OPERATOR, CUSTOMER, LATER = OntraportMisconfigured, ReconnectRequired, OntraportUnavailable
VERDICTS: list[tuple[int, str, type[OntraportError], str]] = [
    (400, "invalid_grant", CUSTOMER, "invalid_grant"),
    (401, "invalid_grant", CUSTOMER, "invalid_grant"),
    (400, "invalid_client", OPERATOR, "invalid_client"),
    (401, "invalid_client", OPERATOR, "invalid_client"),
    (400, "unauthorized_client", OPERATOR, "unauthorized_client"),
    (400, "invalid_request", LATER, "http_400"),
    (400, "invalid_scope", LATER, "http_400"),
    (400, "invalid_target", LATER, "http_400"),
    (400, "unsupported_grant_type", LATER, "http_400"),
    (400, "INVALID_GRANT", LATER, "http_400"),
    (400, "invalid_grant ", LATER, "http_400"),
    (401, "", LATER, "http_401"),
    (403, "invalid_grant", LATER, "http_403"),
    (404, "invalid_grant", LATER, "http_404"),
    (500, "invalid_grant", LATER, "http_500"),
    (502, "invalid_client", LATER, "http_502"),
    (503, "temporarily_unavailable", LATER, "http_503"),
    (429, "invalid_grant", LATER, "rate_limited"),
    (429, "", LATER, "rate_limited"),
    (200, "invalid_grant", LATER, "nonsense"),
    (201, "", LATER, "http_201"),
    (204, "", LATER, "http_204"),
    (302, "invalid_grant", LATER, "http_302"),
    (599, "", LATER, "http_599"),
]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_error_has_its_verdict(
    server: HostileServer, transport: Transport, verdict: tuple[int, str, type[OntraportError], str]
) -> None:
    status, error, kind, code = verdict
    body = {"error": error, "error_description": "canary <script>"}
    with pytest.raises(OntraportError) as caught:
        refresh(server, transport, body, status=f"{status} X")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("error", [None, 7, ["invalid_grant"], {"code": "invalid_grant"}, "invalid_grant\n", "a" * 65])
def test_an_error_that_is_no_error_code_is_a_plain_refusal(
    server: HostileServer, transport: Transport, error: object
) -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        refresh(server, transport, {"error": error}, status="400 X")
    assert caught.value.code == "http_400"


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("0", 1),
        ("3600", LONGEST_PAUSE),
        ("315360000", LONGEST_PAUSE),
        ("999999999999", LONGEST_PAUSE),
        ("9999999999999", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("soon", None),
        ("", None),
        ("5, 10", None),
        ("٣٠", None),
        ("\0", None),
        ("Fri, 31 Feb 2027 00:00:00 GMT", None),
        ("Fri, 01 Jan 99999 00:00:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 1),
        ("Wed, 21 Oct 2015 07:28:00 +9999", None),
        ("Fri, 01 Jan 2100 00:00:00 GMT", LONGEST_PAUSE),
    ],
)
def test_a_pause_is_what_retry_after_says_within_reason(value: str, seconds: float | None) -> None:
    """RFC 9110, 10.2.3."""
    assert retry_after({"Retry-After": value}) == seconds
    assert pause_of({"Retry-After": value}) == (RATE_LIMIT_PAUSE if seconds is None else seconds)


def test_a_date_in_retry_after_is_that_many_seconds_from_now() -> None:
    pause = retry_after({"Retry-After": in_seconds(120)})
    assert pause is not None
    assert 110 < pause <= 120


@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ ([+-]\d+|GMT)", fullmatch=True)
)
@settings(max_examples=300, deadline=None)
def test_no_retry_after_is_an_error_or_longer_than_an_hour(value: str) -> None:
    assert 1 <= pause_of({"Retry-After": value, "X-Rate-Limit-Reset": value}) <= LONGEST_PAUSE


def test_a_429_without_retry_after_waits_for_ontraports_own_header(server: HostileServer, transport: Transport) -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        refresh(server, transport, "", status="429 X", headers="X-Rate-Limit-Reset: 17\r\n")
    assert caught.value.retry_after == 17


def test_a_503_says_when_to_come_back(server: HostileServer, transport: Transport) -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        refresh(server, transport, "", status="503 X", headers="Retry-After: 9\r\n")
    assert caught.value.retry_after == 9


def form_of(server: HostileServer) -> dict[str, str]:
    return dict(parse_qsl(server.requests[-1].partition(b"\r\n\r\n")[2].decode(), strict_parsing=True))


def test_the_requests_are_those_of_the_standards(server: HostileServer, transport: Transport) -> None:
    """RFC 6749, 4.1.3 and 6; RFC 7636, 4.5; RFC 8707, 2.2; RFC 7009, 2.1."""
    server.behaviour = KeepAlive(answer(json.dumps(GOOD)))
    client = client_of(server)
    client.exchange(transport, code=Secret("a-code"), redirect_uri="https://site/cb", verifier=Secret("a-verifier"))
    credentials = {"client_id": "id", "client_secret": "canary-secret"}
    resource = {"resource": "https://mcp.example"}
    assert form_of(server) == {
        "grant_type": "authorization_code",
        "code": "a-code",
        "redirect_uri": "https://site/cb",
        "code_verifier": "a-verifier",
        **resource,
        **credentials,
    }
    client.refresh(transport, Secret("old"))
    assert form_of(server) == {"grant_type": "refresh_token", "refresh_token": "old", **resource, **credentials}
    client.revoke(transport, Secret("old"))
    assert form_of(server) == {"token": "old", "token_type_hint": "refresh_token", **credentials}


def test_a_public_client_sends_no_secret_and_no_resource_where_none_is_wanted(
    server: HostileServer, transport: Transport
) -> None:
    server.behaviour = KeepAlive(answer(json.dumps(GOOD)))
    client_of(server, client_secret=None, resource=None).refresh(transport, Secret("old"))
    assert form_of(server) == {"grant_type": "refresh_token", "refresh_token": "old", "client_id": "id"}


def test_the_authorization_url_carries_the_challenge_and_never_the_verifier(server: HostileServer) -> None:
    """RFC 6749, 4.1.1; RFC 7636, 4.3."""
    verifier = new_verifier()
    client = client_of(server)
    url = client.authorization_url(redirect_uri="https://s/cb?a=b&c", state="a state", challenge=challenge_of(verifier))
    assert url.startswith(f"{server.url}/authorize?")
    assert parse_qs(urlsplit(url).query) == {
        "response_type": ["code"],
        "client_id": ["id"],
        "redirect_uri": ["https://s/cb?a=b&c"],
        "scope": ["mcp:tools"],
        "state": ["a state"],
        "code_challenge": [challenge_of(verifier)],
        "code_challenge_method": ["S256"],
        "resource": ["https://mcp.example"],
    }
    assert verifier.reveal() not in url
    bare = client_of(server, resource=None).authorization_url(redirect_uri="x", state="s", challenge="c")
    assert "resource" not in bare


def test_an_authorization_url_on_http_is_refused() -> None:
    endpoints = Endpoints(authorization_endpoint="http://a.example/", token_endpoint="https://a.example/")
    client = Client(client_id="id", client_secret=None, endpoints=endpoints, scopes=(), resource=None)
    with pytest.raises(OntraportMisconfigured):
        client.authorization_url(redirect_uri="https://s/", state="s", challenge="c")


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_verifiers_are_long_and_never_the_same() -> None:
    verifiers = {new_verifier().reveal() for _ in range(1000)}
    assert len(verifiers) == 1000
    assert all(len(verifier) == 64 for verifier in verifiers)


@pytest.mark.parametrize(("status", "body"), [("200 OK", ""), ("400 X", '{"error": "invalid_grant"}')])
def test_a_revocation_was_heard(server: HostileServer, transport: Transport, status: str, body: str) -> None:
    """A grant that is gone already is what was wanted."""
    server.behaviour = KeepAlive(answer(body, status=status))
    client_of(server).revoke(transport, Secret("old"))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("503 X", "", OntraportUnavailable),
        ("307 X", "", OntraportUnavailable),
        ("400 X", '{"error": "unsupported_token_type"}', OntraportUnavailable),
        ("401 X", '{"error": "invalid_client"}', OntraportMisconfigured),
    ],
)
def test_a_revocation_was_not_heard(
    server: HostileServer, transport: Transport, status: str, body: str, kind: type[OntraportError]
) -> None:
    server.behaviour = KeepAlive(answer(body, status=status))
    with pytest.raises(kind):
        client_of(server).revoke(transport, Secret("old"))


def test_without_a_revocation_endpoint_nothing_is_sent(server: HostileServer, transport: Transport) -> None:
    server.requests.clear()
    Client(client_id="id", client_secret=None, endpoints=PRESETS["guide"], scopes=(), resource=None).revoke(
        transport, Secret("old")
    )
    assert server.requests == []


def test_a_registration_returns_what_the_server_gave_with_its_secrets_hidden(
    server: HostileServer, transport: Transport
) -> None:
    """RFC 7591, 3.2.1."""
    body = {
        "client_id": "new-id",
        "client_secret": "canary",
        "registration_access_token": {"odd": "canary"},
        "redirect_uris": ["https://site/cb"],
        "client_id_issued_at": 7,
    }
    server.behaviour = KeepAlive(answer(json.dumps(body), status="201 Created"))
    registration = client_of(server).register(transport, {"client_name": "Shop"})
    assert "canary" not in repr(registration)
    assert registration["client_id"] == "new-id"
    assert registration["client_secret"].reveal() == "canary"
    assert registration["redirect_uris"] == ["https://site/cb"]


@pytest.mark.parametrize(
    "answered",
    [
        ("400 X", '{"error": "invalid_redirect_uri"}', OntraportRejected, "invalid_redirect_uri"),
        ("403 X", "<h1>no</h1>", OntraportRejected, "403"),
        ("500 X", "", OntraportUnavailable, "500"),
        ("200 OK", "[]", OntraportUnavailable, "understood"),
        ("201 OK", '{"client_id": "two words"}', OntraportUnavailable, "201"),
    ],
)
def test_a_registration_that_failed_says_why(
    server: HostileServer, transport: Transport, answered: tuple[str, str, type[OntraportError], str]
) -> None:
    status, body, kind, words = answered
    server.behaviour = KeepAlive(answer(body, status=status))
    with pytest.raises(kind, match=words):
        client_of(server).register(transport, {})


def test_endpoints_without_registration_say_so(transport: Transport) -> None:
    client = Client(client_id="id", client_secret=None, endpoints=PRESETS["guide"], scopes=(), resource=None)
    with pytest.raises(OntraportMisconfigured):
        client.register(transport, {})


def test_the_published_endpoints_are_those_of_the_live_service() -> None:
    assert {urlsplit(str(url)).hostname for url in vars_of(PRESETS["ontraport"])} == {"app.ontraport.com"}
    assert PRESETS["guide"].issuer is None


def vars_of(endpoints: Endpoints) -> list[str]:
    return [
        value
        for value in (
            endpoints.issuer,
            endpoints.authorization_endpoint,
            endpoints.token_endpoint,
            endpoints.revocation_endpoint,
        )
        if value
    ]
