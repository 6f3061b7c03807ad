"""Whatever a server does, a call ends in time, in little memory and in one typed error, and secrets go to no other host."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import time
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from ontraport_connect.encryption import Sealed, Secret, StoredSecret
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable, SecretUnreadable
from ontraport_connect.protocol import Answer, Transport, is_loopback, require_secure
from ontraport_connect.protocol.connections import Connections
from ontraport_connect.protocol.failures import failure_code
from ontraport_connect.protocol.http import MESSAGE_LIMIT
from tests.support.hostile_server import (
    HostileServer,
    KeepAlive,
    answer,
    black_hole,
    certificate,
    drip,
    endless,
    gzip_bomb,
    hostile_server,
    raw,
    reset,
)
from tests.support.servers import HOST, free_port

TIMEOUT = (0.3, 0.4)
LONGEST = sum(TIMEOUT) + 0.5
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def send(url: str, **arguments: object) -> Answer:
    with Transport(timeout=TIMEOUT) as transport:
        return transport.send("POST", url, form={"client_secret": Secret("canary-secret")}, **arguments)  # type: ignore[arg-type]


HOSTILE = {
    "says nothing": (black_hole, "timeout"),
    "a status line that drips": (drip(b"", b"H"), "timeout"),
    "headers that drip": (drip(OK, b"X"), "timeout"),
    "a body that drips": (drip(OK + b"Content-Length: 1000\r\n\r\n", b"{"), "timeout"),
    "chunks that drip": (drip(CHUNKED, b"1\r\n{\r\n"), "timeout"),
    "a chunk size that drips": (drip(CHUNKED, b"0"), "timeout"),
    "empty gzip members that drip": (
        drip(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"")),
        "timeout",
    ),
    "informational answers for ever": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001), "timeout"),
    "interim answers for ever": (drip(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0.001), "timeout"),
    "a body without end": (endless(OK + b"\r\n", b" " * 65536), "too_large"),
    "chunks without end": (endless(CHUNKED, b"ffff\r\n" + b" " * 0xFFFF + b"\r\n"), "too_large"),
    "empty gzip members without end": (
        endless(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"") * 1000),
        "too_large",
    ),
    "a chunk of negative size": (endless(CHUNKED + b"-1\r\n", b" " * 65536), "nonsense"),
    "chunks in an encoding": (raw(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "nonsense"),
    "chunks twice": (raw(OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"), "nonsense"),
    "chunks and a length": (raw(CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), "nonsense"),
    "a body announced as huge": (endless(OK + b"Content-Length: 99999999999999\r\n\r\n", b" " * 65536), "too_large"),
    "a gzip bomb": (gzip_bomb(200), "too_large"),
    "a gzip bomb in chunks": (
        raw(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"\0" * 2**25)),
        "too_large",
    ),
    "gzip that is none": (answer(b"{}", headers="Content-Encoding: gzip\r\n"), "nonsense"),
    "gzip cut short": (answer(gzip.compress(b"{}" * 99)[:-9], headers="Content-Encoding: gzip\r\n"), "nonsense"),
    "two gzip members": (answer(gzip.compress(b"{}") * 2, headers="Content-Encoding: gzip\r\n"), "nonsense"),
    "gzip in gzip": (
        answer(gzip.compress(gzip.compress(b"{}")), headers="Content-Encoding: gzip, gzip\r\n"),
        "nonsense",
    ),
    "gzip in gzip, said in two headers": (
        answer(gzip.compress(gzip.compress(b"{}")), headers="Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"),
        "nonsense",
    ),
    "deflate": (answer(zlib.compress(b"{}"), headers="Content-Encoding: deflate\r\n"), "nonsense"),
    "an unknown encoding": (answer(b"{}", headers="Content-Encoding: br\r\n"), "nonsense"),
    "hangs up": (raw(b""), "cut"),
    "a reset at once": (reset(b""), "cut"),
    "a reset in the headers": (reset(OK + b"Content-Le"), "cut"),
    "a reset in the body": (reset(OK + b"Content-Length: 100\r\n\r\n{"), "cut"),
    "a body shorter than announced": (raw(OK + b"Content-Length: 100\r\n\r\n{}"), "cut"),
    "a body of two lengths": (raw(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), "nonsense"),
    "a body of two lengths in one header": (raw(OK + b"Content-Length: 2, 3\r\n\r\n{}"), "nonsense"),
    "a last chunk that is missing": (raw(CHUNKED + b"2\r\n{}\r\n"), "cut"),
    "a chunk size that is no number": (raw(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), "cut"),
    "a status line of noise": (raw(b"\x16\x03\x01\x02\x00\x01\r\n\r\n"), "nonsense"),
    "a status that is no number": (raw(b"HTTP/1.1 OK 200\r\n\r\n{}"), "nonsense"),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "nonsense"),
    "a header line without end": (raw(OK + b"X: " + b"a" * 70000 + b"\r\n\r\n"), "nonsense"),
    "a thousand headers": (raw(OK + b"X: a\r\n" * 1000 + b"\r\n"), "nonsense"),
    "a header line without a colon": (raw(OK + b"canary-echo\r\nContent-Length: 2\r\n\r\n{}"), "nonsense"),
}


@pytest.mark.parametrize(("behaviour", "code"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_server_ends_in_one_typed_error_in_time_and_in_little_memory(
    server: HostileServer, behaviour: object, code: str
) -> None:
    """Other clients use 2 to 3 GB for the gzip bomb, and wait forever for a server that sends a byte a second."""
    server.behaviour = behaviour  # type: ignore[assignment]
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(OntraportUnavailable) as caught:
        send(server.url)
    assert time.monotonic() - started < LONGEST
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == code
    assert peak < 8 * 2**20
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("interim", [100, 102, 103, 199])
@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_an_answer_before_the_final_one_is_passed_over_and_everybody_gets_their_own(
    server: HostileServer, interim: int, pause: float
) -> None:
    """RFC 9110, 15.2. Else the final answer would be taken for that to the next request, which may be another customer's."""

    def behave(server: HostileServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 %d Wait\r\nLink: </x>\r\n\r\n" % interim)
        time.sleep(pause)
        answer(server.requests[-1].rpartition(b"=")[2])(server, connection)

    server.behaviour = KeepAlive(behave)
    with Transport(timeout=(1, 2)) as transport:
        for who in ("maya", "tomas", "ana"):
            given = transport.send("POST", server.url, form={"refresh_token": Secret(who)})
            assert (given.status, given.body) == (200, who.encode())


@pytest.mark.parametrize("value", ["a\r\n b", "a\nb", " a", "a ", "a\x00b", "a\x7f", "a\tb"])
def test_what_is_not_one_line_is_no_header(server: HostileServer, value: str) -> None:
    server.behaviour = answer(b"{}")
    server.requests.clear()
    with Transport(timeout=TIMEOUT) as transport, pytest.raises(OntraportUnavailable):
        transport.send("GET", server.url, headers={"Api-Key": Secret(value)})
    assert server.requests == []


@pytest.mark.parametrize("url", ["https://straße.example/token", "https://faß.de", "http://локалхост/"])
def test_a_host_name_that_programs_turn_into_different_names_is_refused(url: str) -> None:
    with pytest.raises(OntraportMisconfigured, match="xn--"):
        require_secure(url)


def test_a_port_where_nobody_listens_is_a_connection_that_could_not_be_made() -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        send(f"http://{HOST}:{free_port()}")
    assert caught.value.code == "connection"


def test_a_name_that_does_not_exist_is_a_connection_that_could_not_be_made() -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        send("https://no-such-host.invalid")
    assert caught.value.code == "connection"


@pytest.mark.parametrize(
    ("host", "days"), [(HOST, 1), (HOST, -1), ("other.example", 1)], ids=["self-signed", "expired", "wrong host"]
)
def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    tmp_path: Path, host: str, days: int
) -> None:
    with hostile_server(answer("{}"), context=certificate(tmp_path, host=host, days=days)) as server:
        with pytest.raises(OntraportUnavailable) as caught:
            send(server.url)
        assert server.requests == []
    assert caught.value.code == "tls"


def test_a_server_that_speaks_no_tls_gets_nothing() -> None:
    with hostile_server(answer("{}")) as server:
        with pytest.raises(OntraportUnavailable):
            send(server.url.replace("http:", "https:"))
        assert b"canary" not in b"".join(server.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server: HostileServer, status: int) -> None:
    """Four Python clients resend the client secret to another host on a 307."""
    with hostile_server(answer("{}")) as elsewhere:
        server.behaviour = answer("", status=f"{status} Moved", headers=f"Location: {elsewhere.url}/\r\n")
        assert send(server.url).status == status
        assert elsewhere.requests == []


def test_nothing_is_sent_twice(server: HostileServer) -> None:
    server.requests.clear()
    server.behaviour = reset(b"")
    with pytest.raises(OntraportUnavailable):
        send(server.url)
    assert len(server.requests) == 1


def test_no_proxy_and_no_netrc_is_taken_from_the_environment(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login somebody password canary\n")
    netrc.chmod(0o600)
    with hostile_server(answer("{}")) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NETRC", str(netrc))
        server.requests.clear()
        server.behaviour = answer("{}")
        send(server.url)
        assert proxy.requests == []
    assert b"authorization" not in server.requests[0].lower()


def test_no_cookie_is_kept(server: HostileServer) -> None:
    server.requests.clear()
    server.behaviour = KeepAlive(answer("{}", headers="Set-Cookie: a=b\r\n"))
    with Transport(timeout=TIMEOUT) as transport:
        transport.send("GET", server.url)
        transport.send("GET", server.url)
    assert b"cookie" not in server.requests[1].lower()


def test_a_connection_is_used_again_and_each_answer_has_a_deadline_of_its_own(server: HostileServer) -> None:
    server.behaviour = KeepAlive(answer('{"a": 1}'))
    with Transport(timeout=TIMEOUT) as transport:
        connections = server.connections
        for _ in range(20):
            assert transport.send("GET", server.url).json() == {"a": 1}
        assert server.connections == connections + 1


def test_the_reason_phrase_which_error_reporters_keep_is_dropped(server: HostileServer) -> None:
    server.behaviour = answer("{}", status="500 a-token-that-the-server-echoes")
    with closing(Connections().take("GET", server.url, 1.0)) as connection:
        response = connection.ask("GET", "/", {}, None, 1.0)
        assert (response.status, response.reason) == (500, "")
        response.close()


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not(server: HostileServer) -> None:
    server.behaviour = answer(b" " * MESSAGE_LIMIT)
    assert len(send(server.url).body) == MESSAGE_LIMIT
    server.behaviour = answer(gzip.compress(b" " * MESSAGE_LIMIT), headers="Content-Encoding: GZIP\r\n")
    assert len(send(server.url).body) == MESSAGE_LIMIT
    server.behaviour = answer(b" " * (MESSAGE_LIMIT + 1))
    with pytest.raises(OntraportUnavailable):
        send(server.url)


def test_a_form_is_sent_in_the_body_and_a_document_as_json(server: HostileServer) -> None:
    server.requests.clear()
    server.behaviour = answer("{}")
    send(f"{server.url}/token", headers={"X-Key": Secret("a-key")})
    with Transport(timeout=TIMEOUT) as transport:
        transport.send("POST", server.url, document={"a": 1})
        transport.send("post", server.url)
        transport.send("get", f"{server.url}/a b?c=d e#f")
    form, document, empty, read = server.requests
    assert form.startswith(b"POST /token HTTP/1.1\r\n")
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in form
    assert b"X-Key: a-key\r\n" in form
    assert form.endswith(b"\r\n\r\nclient_secret=canary-secret")
    assert document.endswith(b'\r\n\r\n{"a": 1}')
    assert b"Content-Type: application/json\r\nContent-Length: 8\r\n" in document
    assert empty.startswith(b"POST / HTTP/1.1\r\n")
    assert b"Content-Length: 0\r\n" in empty
    assert read.startswith(b"GET /a%20b?c=d%20e HTTP/1.1\r\n")
    assert b"Content-Length" not in read


def test_a_secret_that_cannot_be_decrypted_is_said_to_be_that_and_nothing_is_sent(server: HostileServer) -> None:
    server.requests.clear()
    with Transport(timeout=TIMEOUT) as transport, pytest.raises(SecretUnreadable) as caught:
        transport.send("POST", server.url, form={"a": Secret("canary"), "b": StoredSecret(Sealed(b"\1no"), "row")})
    assert server.requests == []
    frames = caught.traceback
    assert not any("canary" in repr(frame.locals) for frame in frames)


def test_what_a_hostile_server_echoes_in_a_broken_header_reaches_no_log(
    server: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.behaviour = HOSTILE["a header line without a colon"][0]
    with pytest.raises(OntraportUnavailable):
        send(server.url)
    assert "canary" not in caplog.text


def test_an_answer_shows_neither_its_body_nor_its_headers() -> None:
    answered = Answer(status=200, headers={"X": "canary"}, body=b"canary")
    assert repr(answered) == "Answer(status=200)"


STRICT = {
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "a duplicate key": b'{"a": 1, "a": 2}',
    "a duplicate key inside": b'{"a": {"b": 1, "b": 2}}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a hundred thousand brackets": b"[" * 100_000,
    "a hundred thousand braces": b'{"a":' * 100_000,
    "a number of five thousand digits": b"1" * 5000,
    "nothing": b"",
    "HTML": b"<!doctype html>",
    "a trailing comma": b'{"a": 1,}',
    "two documents": b"{}{}",
    "a control character": b'{"a": "\n"}',
    "cut short": b'{"a": "',
}


@pytest.mark.parametrize("body", STRICT.values(), ids=STRICT)
def test_json_is_read_strictly(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of whatever words
        Answer(status=200, headers={}, body=body).json()


def test_json_that_is_well_formed_is_read() -> None:
    value = {"a": [1, 2.5, None, True, "ü"]}
    assert Answer(status=200, headers={}, body=json.dumps(value).encode()).json() == value


@pytest.mark.parametrize(
    "url",
    [
        "http://app.ontraport.com/oauth/token",
        "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/",
        "http://127.1/",
        "http://2130706433/",
        "http://0.0.0.0/",
        "ftp://app.ontraport.com/",
        "//app.ontraport.com/",
        "app.ontraport.com",
        "https://",
        "https:///path",
        "https://[::1",
        "https://app.ontraport.com:99999999/",
        "https://*.ontraport.com/",
        "https://app ontraport.com/",
        "file:///etc/passwd",
        "",
    ],
)
def test_credentials_are_sent_over_https_only(url: str) -> None:
    with Transport(timeout=TIMEOUT) as transport, pytest.raises(OntraportMisconfigured) as caught:
        transport.send("POST", url, form={"a": Secret("canary")})
    assert caught.value.code == "insecure_url"


@pytest.mark.parametrize(
    "url",
    [
        "https://app.ontraport.com",
        "http://127.0.0.1:8001/",
        "http://[::1]/",
        "http://localhost/",
        "http://a.localhost/",
    ],
)
def test_http_is_for_loopback_hosts(url: str) -> None:
    require_secure(url)


def test_a_host_that_is_none_is_no_loopback_host() -> None:
    assert not is_loopback(None)


@pytest.mark.parametrize("error", [RuntimeError("canary"), MemoryError(), RecursionError()])
def test_an_error_that_nobody_foresaw_is_nonsense(error: Exception) -> None:
    assert failure_code(error) == "nonsense"


def test_every_failure_has_words_that_say_what_happened(server: HostileServer) -> None:
    server.behaviour = black_hole
    with pytest.raises(OntraportError, match="Ontraport did not answer in time"):
        send(server.url)
