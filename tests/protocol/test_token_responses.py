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

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.protocol import Transport
from ontraport_connect.protocol.oauth_responses import ASSUMED_LIFETIME, LONGEST_LIFETIME, lifetime_of
from tests.support.hostile_server import Behaviour, HostileServer, KeepAlive, answer, drip, raw, reset
from tests.support.memory import growth_of

from .authorization_server import GOOD, client_of, raw_member, refresh, without

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
    "cut short": json.dumps(GOOD)[:-1],
    "two documents": json.dumps(GOOD) * 2,
    "a trailing comma": json.dumps(GOOD)[:-1] + ",}",
    "single quotes": str(GOOD),
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
    "two access tokens": '{"access_token": "other", ' + json.dumps(GOOD)[1:],
    "two token types": '{"token_type": "mac", ' + json.dumps(GOOD)[1:],
    "two errors": '{"error": "invalid_grant", "error": "", ' + json.dumps(GOOD)[1:],
    "two refresh tokens, one of them empty": '{"refresh_token": "", ' + json.dumps(GOOD)[1:],
    "another answer before it": '{"access_token": "other", "token_type": "Bearer"}\n' + json.dumps(GOOD),
    "another answer after it": json.dumps(GOOD) + '\n{"access_token": "other", "token_type": "Bearer"}',
    "another answer in a notice before it": 'Notice: {"access_token": "other"}<br />\n' + json.dumps(GOOD),
    "a page with scripts": f"<script>window.answer = {json.dumps(GOOD)};</script>",
    "two refresh tokens": '{"refresh_token": "other", ' + json.dumps(GOOD)[1:],
    "a control character in a string": raw_member("access_token", '"acc\tess"'),
    "an error beside the token": {**GOOD, "error": "invalid_grant"},
    "no access token": without("access_token"),
    "another case of names": {name.upper(): value for name, value in GOOD.items()},
}
for name in ("access_token", "refresh_token"):
    REFUSED |= {
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
REFUSED |= {f"access_token: {value!r}": {**GOOD, "access_token": value} for value in (None, "")}
TOKEN_TYPES: list[object] = [
    *("mac", "MAC", "DPoP", "N_A", "bearer_token", "bear er", "basic", "\u0299earer"),
    *(1, ["bearer"], {}, True),
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


NO_ERRORS: tuple[object, ...] = (None, False, "", 0, [])
ODD: dict[str, object] = {
    "no token type": without("token_type"),
    **{f"token_type: {each!r}": {**GOOD, "token_type": each} for each in (None, "", " ", "bearer ", " Bearer\n")},
    **{f"error: {error!r}": {**GOOD, "error": error} for error in NO_ERRORS},
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    "a notice before it": "<br />\n<b>Notice</b>: Undefined index: x in <b>token.php</b><br />\n" + json.dumps(GOOD),
    "a comment before it": "/* hello */" + json.dumps(GOOD),
    "a name in Latin-1": json.dumps(GOOD).encode()[:-1] + b', "name": "Caf\xe9"}',
    "a control character elsewhere": json.dumps(GOOD)[:-1] + ', "x": "\n\0"}',
    "NaN elsewhere": json.dumps(GOOD)[:-1] + ', "x": [NaN, -Infinity]}',
    "a number of ten thousand digits": raw_member("expires_in", "1" * 10_000),
    **{f"a lifetime of {each}": raw_member("expires_in", each) for each in ("NaN", "Infinity", "-Infinity")},
    "two unknown members": '{"x": 1, "x": 2, ' + json.dumps(GOOD)[1:],
    "the same token twice": '{"access_token": "access", "token_type": "Bearer", ' + json.dumps(GOOD)[1:],
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_a_token_response_is_read_whatever_is_odd_around_its_tokens(
    server: HostileServer, transport: Transport, body: object
) -> None:
    """The refresh token is spent: to refuse the answer would end the link."""
    grant = refresh(server, transport, body)
    assert (grant.access_token.reveal(), grant.refresh_token and grant.refresh_token.reveal()) == ("access", "next")
    assert 0 < grant.lifetime <= LONGEST_LIFETIME
    assert grant.scope == frozenset({"mcp:tools"})


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "206 Partial Content", "299 X"])
def test_any_status_of_success_will_do(server: HostileServer, transport: Transport, status: str) -> None:
    assert refresh(server, transport, GOOD, status=status).access_token.reveal() == "access"


ANSWER = json.dumps(GOOD).encode()
TOO_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(ANSWER) + 1)
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(ANSWER)
CUT: dict[str, Behaviour] = {
    "a length that is too long, then closed": raw(TOO_LONG + ANSWER),
    "a length that is too long, then a reset": reset(TOO_LONG + ANSWER),
    "a length that is too long, then silence": drip(TOO_LONG + ANSWER, b"", 0.1),
    "no length, and a reset": reset(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER),
    "the last chunk missing": raw(IN_CHUNKS + ANSWER + b"\r\n"),
    "the end of the chunk missing": raw(IN_CHUNKS + ANSWER),
}


@pytest.mark.parametrize("behaviour", CUT.values(), ids=CUT)
def test_a_token_response_that_is_there_is_read_although_the_message_is_not_whole(
    server: HostileServer, behaviour: Behaviour
) -> None:
    """Its connection is used no more."""
    server.behaviour = behaviour
    with Transport(timeout=(1, 0.5)) as transport:
        assert client_of(server).refresh(transport, Secret("spent")).access_token.reveal() == "access"
        server.behaviour = KeepAlive(answer(ANSWER))
        assert client_of(server).refresh(transport, Secret("next")).access_token.reveal() == "access"


def test_half_a_token_response_is_an_answer_that_was_cut(server: HostileServer, transport: Transport) -> None:
    server.behaviour = raw(TOO_LONG + ANSWER[:-1])
    with pytest.raises(OntraportUnavailable) as caught:
        client_of(server).refresh(transport, Secret("spent"))
    assert caught.value.code == "cut"


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf%s", b"Notice: x<br />\n%s"])
def test_a_grant_that_has_ended_is_told_however_oddly(server: HostileServer, transport: Transport, body: bytes) -> None:
    with pytest.raises(ReconnectRequired):
        refresh(server, transport, body % b'{"error": "invalid_grant"}', status="400 X")


@pytest.mark.parametrize(
    "body",
    [without("refresh_token"), {**GOOD, "refresh_token": None}, {**GOOD, "refresh_token": ""}],
    ids=["absent", "null", "empty"],
)
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
    assert 200 <= status < 300
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
