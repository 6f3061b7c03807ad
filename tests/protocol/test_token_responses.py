"""Which token responses are accepted, and which are refused."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontraport_connect.exceptions import OntraportError, OntraportUnavailable
from ontraport_connect.protocol import Transport
from ontraport_connect.protocol.oauth_responses import ASSUMED_LIFETIME, LONGEST_LIFETIME, lifetime_of
from tests.support.hostile_server import HostileServer
from tests.support.memory import growth_of

from .authorization_server import GOOD, raw_member, refresh, without

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "200"))
DEADLINE = 3.0
"""Seconds within which every call ends: the connect timeout plus the read timeout."""

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
        f"{name}: what is shown in place of a secret": {**GOOD, name: "[secret]"},
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
    """The usual Python clients accept a third to two thirds of such responses (see docs/security.md)."""
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
    """The old refresh token stays valid (RFC 6749, 6)."""
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
    """Return whether a body becomes a grant, which must be sane. Errors that are not typed are raised."""
    try:
        grant = refresh(server, transport, body, status=f"{status} X")
    except OntraportError:
        return False
    assert status == 200
    assert grant.access_token.reveal().isascii()
    assert 0 < grant.lifetime <= LONGEST_LIFETIME
    return True


def mutated(chance: random.Random) -> bytes:
    """Return the good response with a few bytes changed, doubled, lost or moved, or with one member replaced."""
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
    """Runs ``HYPOTHESIS_EXAMPLES`` bodies without Hypothesis, whose own memory grows with each example."""
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
