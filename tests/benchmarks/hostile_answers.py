"""The hostile token responses for this app and its peers, each with what a client should do and the rule that says so.

`refuse`: anything but a clean error is a fault. `either`: an oddity that a client may take or refuse, as long as it neither crashes nor
hangs. `accept`: correct, however unusual. Where a rule leaves room, the answer counts as `either`, in favour of whoever is measured.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.support.hostile_server import Behaviour, HostileServer, answer, black_hole, raw, reset

CLIENT_ID = "peer-client"
CLIENT_SECRET = "canary-client-secret"
CODE = "canary-code"
VERIFIER = "canary-verifier-of-at-least-forty-three-characters"
SCOPE = "mcp:tools"
REDIRECT_URI = "https://site.example/callback"

JSON = "Content-Type: application/json\r\n"
HEAD = f"HTTP/1.1 200 OK\r\n{JSON}".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MEBIBYTE = 2**20
SIZE = 65536

GOOD: Mapping[str, Any] = {
    "access_token": "access",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "refresh",
    "scope": SCOPE,
}
GOOD_TEXT = json.dumps(GOOD)


class Verdict(StrEnum):
    REFUSE = "refuse"
    EITHER = "either"
    ACCEPT = "accept"


@dataclass(frozen=True, kw_only=True)
class HostileAnswer:
    """One answer of a token endpoint. ``rule`` is the source of the verdict."""

    name: str
    behaviour: Behaviour
    verdict: Verdict
    rule: str


def document(body: object, *, status: str = "200 OK", headers: str = JSON) -> Behaviour:
    return answer(body if isinstance(body, (str, bytes)) else json.dumps(body), status=status, headers=headers)


def member(name: str, value: object) -> Behaviour:
    return document({**GOOD, name: value})


def literal(name: str, text: str) -> Behaviour:
    """Return the good answer with one member written as ``text``."""
    return document(json.dumps({**GOOD, name: "@"}).replace('"@"', text))


def without(name: str) -> Behaviour:
    return document({key: value for key, value in GOOD.items() if key != name})


def redirect(status: int) -> Behaviour:
    """Redirect to the same port under another host name, where a good answer waits."""

    def behave(server: HostileServer, connection: socket.socket) -> None:
        location = f"Location: http://localhost:{server.port}/elsewhere\r\n"
        moved = document("", status=f"{status} Moved", headers=location)
        (document(GOOD) if b" /elsewhere " in server.requests[-1] else moved)(server, connection)

    return behave


def secret_left_for_elsewhere(server: HostileServer) -> bool:
    """Return whether the client secret was sent to the other host of a redirect."""
    return any(
        b" /elsewhere " in request.split(b"\r\n", 1)[0] and CLIENT_SECRET.encode() in request
        for request in server.requests
    )


def flood(head: bytes, mebibytes: int, tail: bytes = b"") -> Behaviour:
    """Send that many mebibytes of blanks, which JSON allows, and then ``tail``. Without a tail keep the connection open."""

    def behave(server: HostileServer, connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(mebibytes * MEBIBYTE // SIZE):
            connection.sendall(b" " * SIZE)
        connection.sendall(tail)
        while not tail and not server.closing.wait(0.1):
            connection.sendall(b" ")

    return behave


def slowly(head: bytes, rest: bytes) -> Behaviour:
    """Send the head at once, and the rest at a byte every fifth of a second, which takes more than twenty seconds."""

    def behave(server: HostileServer, connection: socket.socket) -> None:
        connection.sendall(head)
        for number in range(len(rest)):
            if not server.closing.wait(0.2):
                connection.sendall(rest[number : number + 1])

    return behave


def bomb(mebibytes: int) -> Behaviour:
    """Send a good answer after that many mebibytes of blanks, compressed a thousandfold (RFC 1952, 2.3)."""
    blanks = b" " * MEBIBYTE
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compress(GOOD_TEXT.encode(), wbits=-zlib.MAX_WBITS)

    def behave(server: HostileServer, connection: socket.socket) -> None:
        checksum = 0
        connection.sendall(HEAD + b"Content-Encoding: gzip\r\n\r\n" + b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
        for _ in range(mebibytes):
            connection.sendall(packed)
            checksum = zlib.crc32(blanks, checksum)
        checksum = zlib.crc32(GOOD_TEXT.encode(), checksum)
        connection.sendall(last + struct.pack("<II", checksum, mebibytes * MEBIBYTE + len(GOOD_TEXT)))

    return behave


def chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


JSON_OBJECT = "RFC 6749, 5.1: one JSON object; RFC 8259, 2"
ONCE = "RFC 6749, 3.2: a parameter is not repeated"
ACCESS_TOKEN = "RFC 6749, 5.1: access_token is required, a JSON string"
BEARER = "RFC 6750, 2.1: a bearer token is 1*( ALPHA / DIGIT / -._~+/ ) *=; a line break would end the header"
REFRESH_TOKEN = "RFC 6749, A.17: a refresh token is 1*VSCHAR, a JSON string"
TOKEN_TYPE = "RFC 6749, 5.1: token_type is required, a JSON string"
UNDERSTOOD = "RFC 6749, 7.1: a token of a type that is not understood is not used"
ERROR = "RFC 6749, 5.2: this is an error"
STATUS = "RFC 6749, 5.1: a token response has status 200"
REDIRECTED = "RFC 6749, 5.1: a token response has status 200; RFC 9700, 4.12: credentials are not carried along"
BOUNDED = "RFC 9110, 17.5: a recipient limits what it is prepared to take"
IN_TIME = "RFC 9112, 9.5: who waits may give up, and a limit of a few seconds was set"
COMPLETE = "RFC 9112, 8: an incomplete message is an error"
FRAMED = "RFC 9112, 2 to 7: this is not an HTTP message"

REFUSED: Mapping[str, tuple[Behaviour, str]] = {
    "body: nothing": (document(""), JSON_OBJECT),
    "body: plain text": (document("ok"), JSON_OBJECT),
    "body: HTML with status 200": (
        document("<!doctype html><title>Sign in</title>", headers="Content-Type: text/html\r\n"),
        JSON_OBJECT,
    ),
    "body: cut short": (document(GOOD_TEXT[:-1]), JSON_OBJECT),
    "body: two documents": (document(GOOD_TEXT * 2), JSON_OBJECT),
    "body: null": (document("null"), JSON_OBJECT),
    "body: a string": (document('"access_token"'), JSON_OBJECT),
    "body: a list": (document([GOOD]), JSON_OBJECT),
    "body: an empty object": (document({}), ACCESS_TOKEN),
    "body: 100,000 brackets": (document("[" * 100_000), JSON_OBJECT),
    "body: not UTF-8": (document(GOOD_TEXT.encode().replace(b'"access"', b'"acc\xffss"')), "RFC 8259, 8.1: UTF-8"),
    "body: two access tokens": (document('{"access_token": "other", ' + GOOD_TEXT[1:]), ONCE),
    "body: two token types": (document('{"token_type": "mac", ' + GOOD_TEXT[1:]), ONCE),
    "access_token: missing": (without("access_token"), ACCESS_TOKEN),
    "access_token: null": (member("access_token", None), ACCESS_TOKEN),
    "access_token: empty": (member("access_token", ""), BEARER),
    "access_token: a number": (member("access_token", 42), ACCESS_TOKEN),
    "access_token: a list": (member("access_token", ["access"]), ACCESS_TOKEN),
    "access_token: a line break": (member("access_token", "access\r\nX-Injected: 1"), BEARER),
    "access_token: NUL": (member("access_token", "acc\0ess"), BEARER),
    "access_token: an escape sequence": (member("access_token", "\x1b[31maccess"), BEARER),
    "access_token: a blank": (member("access_token", "acc ess"), BEARER),
    "access_token: umlauts": (member("access_token", "äccess"), BEARER),
    "refresh_token: a number": (member("refresh_token", 42), REFRESH_TOKEN),
    "refresh_token: an object": (member("refresh_token", {"value": "refresh"}), REFRESH_TOKEN),
    "refresh_token: a line break": (member("refresh_token", "refresh\n"), REFRESH_TOKEN),
    "token_type: a list": (member("token_type", ["Bearer"]), TOKEN_TYPE),
    "token_type: mac": (member("token_type", "mac"), UNDERSTOOD),
    "token_type: DPoP, unasked": (member("token_type", "DPoP"), UNDERSTOOD),
    "token_type: N_A": (member("token_type", "N_A"), "RFC 8693, 2.2.1: this is no access token"),
    "error: invalid_grant": (document({"error": "invalid_grant"}, status="400 Bad Request"), ERROR),
    "error: with status 200": (document({"error": "invalid_grant"}), ERROR),
    "error: with status 200 and a token": (member("error", "invalid_grant"), ERROR),
    "error: an object": (document({"error": {"code": 7}}, status="400 Bad Request"), ERROR),
    "error: a list": (document(["invalid_grant"], status="400 Bad Request"), ERROR),
    "status 400 with a token": (document(GOOD, status="400 Bad Request"), STATUS),
    "status 500 with a token": (document(GOOD, status="500 Internal Server Error"), STATUS),
    "status 204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), STATUS),
    "status 429 with a Retry-After of noise": (
        document(
            "slow down", status="429 Too Many Requests", headers="Content-Type: text/plain\r\nRetry-After: \xff\r\n"
        ),
        STATUS,
    ),
    **{f"redirect: {status} to another host": (redirect(status), REDIRECTED) for status in (301, 302, 303, 307, 308)},
    "size: no end": (flood(HEAD + b"\r\n", 1024), BOUNDED),
    "size: 256 MB": (flood(HEAD + b"\r\n", 256, GOOD_TEXT.encode()), BOUNDED),
    "size: gzip of 1 GB": (bomb(1024), BOUNDED),
    "size: gzip of 200 MB": (bomb(200), BOUNDED),
    "size: a header line of 1 MB": (raw(HEAD + b"X: " + b"a" * MEBIBYTE + b"\r\n\r\n" + GOOD_TEXT.encode()), BOUNDED),
    "size: 10,000 headers": (raw(HEAD + b"X: a\r\n" * 10_000 + b"\r\n" + GOOD_TEXT.encode()), BOUNDED),
    "time: says nothing": (black_hole, IN_TIME),
    "time: a body that drips": (slowly(HEAD + b"\r\n", GOOD_TEXT.encode()), IN_TIME),
    "time: headers that drip": (slowly(HEAD + b"X: ", b"a" * 99 + b"\r\n\r\n" + GOOD_TEXT.encode()), IN_TIME),
    "line: hangs up": (raw(b""), COMPLETE),
    "line: a reset": (reset(b""), COMPLETE),
    "line: a reset in the body": (reset(HEAD + b"Content-Length: 1000\r\n\r\n{"), COMPLETE),
    "line: chunks of noise": (raw(CHUNKED + b"zz\r\n" + GOOD_TEXT.encode() + b"\r\n0\r\n\r\n"), FRAMED),
    "line: no status line": (raw(b"SSH-2.0-OpenSSH_9.9\r\n"), FRAMED),
    "line: two lengths": (
        raw(HEAD + f"Content-Length: {len(GOOD_TEXT)}\r\nContent-Length: 7\r\n\r\n{GOOD_TEXT}".encode()),
        "RFC 9112, 6.3: lengths that differ are an error that cannot be mended",
    ),
    "line: gzip that is none": (document(GOOD, headers=JSON + "Content-Encoding: gzip\r\n"), "RFC 9110, 8.4"),
}

LIFETIME = "RFC 6749, 5.1: expires_in is only recommended; what cannot be read may count as absent"
SAID_SCOPE = "RFC 6749, 3.3: what it says may be disbelieved"
TAKEN = "against RFC 6749, 5.1, or RFC 9112, 8; but the tokens are there, and whoever refuses them has spent the old ones for nothing"
MEDIA_TYPE = "RFC 6749, 5.1: application/json; servers that say something else were and are met"

ODDITIES: Mapping[str, tuple[Behaviour, str]] = {
    "expires_in: NaN": (
        literal("expires_in", "NaN"),
        "RFC 8259, 6: NaN is not JSON, but what it stands for is only recommended",
    ),
    "refresh_token: empty": (member("refresh_token", ""), TAKEN),
    "token_type: missing": (without("token_type"), TAKEN),
    "line: less than announced": (raw(HEAD + b"Content-Length: 1000\r\n\r\n" + GOOD_TEXT.encode()), TAKEN),
    "line: the last chunk missing": (raw(CHUNKED + chunk(GOOD_TEXT)), TAKEN),
    "expires_in: a string": (member("expires_in", "3600"), LIFETIME),
    "expires_in: a word": (member("expires_in", "soon"), LIFETIME),
    "expires_in: negative": (member("expires_in", -3600), LIFETIME),
    "expires_in: zero": (member("expires_in", 0), LIFETIME),
    "expires_in: 10 to the 30": (member("expires_in", 10**30), LIFETIME),
    "expires_in: beyond any float": (literal("expires_in", "1e999"), LIFETIME),
    "expires_in: a list": (member("expires_in", [3600]), LIFETIME),
    "expires_in: true": (member("expires_in", True), LIFETIME),
    "expires_in: null": (member("expires_in", None), LIFETIME),
    "scope: a list": (member("scope", [SCOPE]), SAID_SCOPE),
    "scope: a number": (member("scope", 7), SAID_SCOPE),
    "scope: wider than asked": (member("scope", f"{SCOPE} admin"), SAID_SCOPE),
    "access_token: 100,000 characters": (member("access_token", "a" * 100_000), BOUNDED),
    "body: a deep member": (
        document(GOOD_TEXT[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        "RFC 8259, 9: a parser may limit the depth; a crash is no limit",
    ),
    "body: a byte order mark": (document(b"\xef\xbb\xbf" + GOOD_TEXT.encode()), "RFC 8259, 8.1: may be ignored"),
    "body: a form": (
        document(
            "access_token=access&token_type=Bearer", headers="Content-Type: application/x-www-form-urlencoded\r\n"
        ),
        "a dialect from before RFC 6749 that some libraries still read on purpose",
    ),
    "content type: text/html": (document(GOOD, headers="Content-Type: text/html\r\n"), MEDIA_TYPE),
    "content type: none": (document(GOOD, headers=""), MEDIA_TYPE),
    "status 201": (
        document(GOOD, status="201 Created"),
        "RFC 6749, 5.1: it would be 200; django-allauth takes both on purpose",
    ),
    "an unknown encoding": (document(GOOD, headers=JSON + "Content-Encoding: x-plain\r\n"), "RFC 9110, 8.4"),
    "gzip, whether asked for or not": (
        document(gzip.compress(GOOD_TEXT.encode()), headers=JSON + "Content-Encoding: gzip\r\n"),
        "RFC 9110, 12.5.3",
    ),
    "a length beside chunks": (
        raw(HEAD + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(GOOD_TEXT) + b"0\r\n\r\n"),
        "RFC 9112, 6.1: chunks count, or it is an error",
    ),
}

OPTIONAL = "RFC 6749, 5.1: optional"
ACCEPTED: Mapping[str, tuple[Behaviour, str]] = {
    "as it should be": (document(GOOD), "RFC 6749, 5.1"),
    "token_type: bearer": (member("token_type", "bearer"), "RFC 6749, 5.1: in any case"),
    "members that nobody knows": (
        document({**GOOD, "id": {"a": [1]}}),
        "RFC 6749, 5.1: what is not recognised is ignored",
    ),
    "no expires_in": (without("expires_in"), OPTIONAL),
    "no refresh_token": (without("refresh_token"), OPTIONAL),
    "no scope": (without("scope"), "RFC 6749, 5.1: absent, it is what was asked for"),
    "in chunks": (raw(CHUNKED + chunk(GOOD_TEXT[:9]) + chunk(GOOD_TEXT[9:]) + b"0\r\n\r\n"), "RFC 9112, 7.1"),
    "until the line is closed": (raw(HEAD + b"\r\n" + GOOD_TEXT.encode()), "RFC 9112, 6.3"),
    "content type: with a charset": (
        document(GOOD, headers="Content-Type: application/json;charset=UTF-8\r\n"),
        "the example of RFC 6749, 5.1",
    ),
    "blanks and line breaks": (document(json.dumps(GOOD, indent=4) + "\r\n"), "RFC 8259, 2"),
}

CORPUS: list[HostileAnswer] = [
    HostileAnswer(name=name, behaviour=behaviour, verdict=verdict, rule=rule)
    for verdict, answers in (
        (Verdict.ACCEPT, ACCEPTED),
        (Verdict.REFUSE, REFUSED),
        (Verdict.EITHER, ODDITIES),
    )
    for name, (behaviour, rule) in answers.items()
]
