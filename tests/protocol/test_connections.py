"""Connections are kept between calls and reused only where that is safe."""

from __future__ import annotations

import datetime as dt
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.signals import request_finished

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.protocol import Route, Transport, close_connections, close_idle_connections, shared_transport
from ontraport_connect.protocol import connections as module
from ontraport_connect.protocol.connections import KEEP_FOR, REUSE_WITHIN, Connections, shared_connections
from ontraport_connect.protocol.tls import tls_context
from tests.support.hostile_server import HostileServer, KeepAlive, answer, certificate, hostile_server, raw, reset
from tests.support.servers import HOST, PROJECT

TIMEOUT = (2, 2)
WELL = KeepAlive(answer('{"a": 1}'))


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    """The path of the CA bundle that `secured` writes."""
    return str(tmp_path / f"{HOST}.pem")


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[HostileServer]:
    """An https server whose certificate is trusted with `bundle` only."""
    with hostile_server(WELL, context=certificate(tmp_path)) as server:
        yield server


@pytest.fixture
def plain() -> Iterator[HostileServer]:
    with hostile_server(WELL) as server:
        yield server


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Iterator[Connections]:
    connections = Connections(clock=clock)
    yield connections
    connections.close()


def until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.001)


def call(url: str, bundle: str | None = None, method: str = "POST") -> None:
    with shared_transport(timeout=TIMEOUT, route=Route(ca_bundle=bundle)) as transport:
        assert transport.send(method, url, form={"a": Secret("b")}).json() == {"a": 1}


def handshakes(server: HostileServer) -> int:
    assert server._context is not None
    return server._context.session_stats()["accept"]


def test_many_calls_make_one_handshake_and_load_the_ca_bundle_once(secured: HostileServer, bundle: str) -> None:
    contexts = set()
    for _ in range(20):
        call(secured.url, bundle)
        contexts.add(tls_context(bundle))
    assert (len(secured.requests), secured.connections, handshakes(secured), len(contexts)) == (20, 1, 1, 1)
    assert shared_connections(Route(ca_bundle=bundle)).idle == 1


def test_a_connection_that_is_kept_holds_nothing_of_what_went_over_it(plain: HostileServer, kept: Connections) -> None:
    plain.behaviour = KeepAlive(answer('{"a": "canary-of-the-answer"}', headers="X-Echo: canary\r\n"))
    transport = Transport(timeout=TIMEOUT, connections=kept)
    transport.send("POST", plain.url, form={"a": Secret("canary")}, headers={"X-Key": Secret("canary-of-the-key")})
    ((connection,),) = kept._idle.values()
    gc.collect()
    held = [each for each in gc.get_referents(vars(connection)) if not isinstance(each, type)]
    assert "canary" not in repr(vars(connection)) + repr([getattr(each, "__dict__", each) for each in held])


def test_what_was_closed_is_made_anew_and_kept_again(plain: HostileServer) -> None:
    for expected in (1, 2):
        call(plain.url)
        call(plain.url)
        assert plain.connections == expected
        close_connections()


def test_threads_that_start_at_once_load_the_ca_bundle_once_and_have_a_connection_each_at_most(
    secured: HostileServer, bundle: str
) -> None:
    with ThreadPoolExecutor(16) as threads:
        start = threading.Barrier(16)

        def work(_: int) -> object:
            start.wait()
            for _ in range(10):
                call(secured.url, bundle)
            return tls_context(bundle)

        contexts = set(threads.map(work, range(16)))
    assert (len(secured.requests), len(contexts)) == (160, 1)
    assert secured.connections <= 16


@pytest.mark.parametrize(
    ("method", "idle_for", "connections"),
    [
        ("POST", REUSE_WITHIN, 1),
        ("POST", REUSE_WITHIN + 0.1, 2),
        ("PUT", REUSE_WITHIN + 0.1, 2),
        ("DELETE", REUSE_WITHIN + 0.1, 2),
        ("GET", REUSE_WITHIN + 0.1, 1),
        ("GET", KEEP_FOR, 1),
        ("GET", KEEP_FOR + 0.1, 2),
    ],
)
def test_what_must_not_be_repeated_goes_over_a_connection_that_was_used_just_now(
    plain: HostileServer, method: str, idle_for: float, connections: int
) -> None:
    """If the server closes an idle connection just as a request is sent, nobody knows whether the request was processed."""
    clock = Clock()
    kept = Connections(clock=clock)
    transport = Transport(timeout=TIMEOUT, connections=kept)
    transport.send("POST", plain.url)
    clock.now += idle_for
    transport.send(method, plain.url)
    assert (len(plain.requests), plain.connections, kept.idle) == (2, connections, 1)
    kept.close()


def test_idle_connections_are_closed_by_the_next_call_of_any_server(
    plain: HostileServer, kept: Connections, clock: Clock
) -> None:
    transport = Transport(timeout=TIMEOUT, connections=kept)
    transport.send("GET", plain.url)
    (connection,) = kept._idle[next(iter(kept._idle))]
    clock.now += KEEP_FOR + 0.1
    with hostile_server(WELL) as other:
        transport.send("GET", other.url)
        assert (connection.sock, kept.idle) == (None, 1)
        kept.close()


@pytest.mark.django_db
def test_idle_connections_are_closed_at_the_end_of_whatever_request_of_the_site(
    plain: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that calls Ontraport once a day does not keep a connection open all day."""
    call(plain.url)
    connections = shared_connections(Route())
    request_finished.send(sender=None)
    assert connections.idle == 1
    monkeypatch.setattr(connections, "_clock", lambda: time.monotonic() + KEEP_FOR + 1)
    request_finished.send(sender=None)
    assert connections.idle == 0


def test_where_nothing_was_called_there_is_nothing_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_process", module._Process())
    close_idle_connections()
    close_connections()


def test_a_connection_that_the_server_has_closed_is_replaced_before_anything_is_sent(
    plain: HostileServer, kept: Connections
) -> None:
    transport = Transport(timeout=TIMEOUT, connections=kept)
    plain.behaviour = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")  # and hangs up without a word of it
    for expected in range(1, 4):
        transport.send("POST", plain.url)
        ((connection,),) = kept._idle.values()
        until(lambda: not connection.is_connected)  # noqa: B023
        assert (len(plain.requests), plain.connections) == (expected, expected)


def test_a_connection_on_which_the_server_speaks_unasked_is_not_used_again(
    plain: HostileServer, kept: Connections
) -> None:
    transport = Transport(timeout=TIMEOUT, connections=kept)
    more = KeepAlive(lambda server, line: line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    said = threading.Event()

    def twice(server: HostileServer, line: object) -> None:
        more(server, line)  # type: ignore[arg-type]
        said.wait(5)
        more(server, line)  # type: ignore[arg-type]

    plain.behaviour = KeepAlive(twice)
    transport.send("GET", plain.url)
    ((connection,),) = kept._idle.values()
    said.set()
    until(lambda: not connection.is_connected)
    plain.behaviour = WELL
    assert transport.send("GET", plain.url).json() == {"a": 1}
    assert plain.connections == 2


def test_what_a_server_sends_beyond_its_answer_is_not_taken_for_the_next_one(
    secured: HostileServer, bundle: str
) -> None:
    """Here it comes in the TLS record of the answer: it is decrypted already, and the socket has nothing to read."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"
    secured.behaviour = KeepAlive(lambda server, line: line.sendall(head + b'{"a": 1}' + b"X" * 12_000))
    for expected in (1, 2, 3):
        call(secured.url, bundle)
        assert secured.connections == expected


@pytest.mark.parametrize(
    "behaviour",
    [
        answer("{}"),
        KeepAlive(answer(b" " * 50_000)),
        KeepAlive(answer("{", headers="Content-Encoding: br\r\n")),
        KeepAlive(lambda server, line: line.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")),
        reset(b"HTTP/1.1 200 OK\r\n"),
    ],
    ids=["close", "too long", "unreadable", "another protocol", "cut"],
)
def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_kept(
    plain: HostileServer, kept: Connections, behaviour: object
) -> None:
    plain.behaviour = behaviour  # type: ignore[assignment]
    with suppress(OntraportUnavailable):
        Transport(timeout=(0.3, 0.3), connections=kept).send("GET", plain.url, limit=100)
    assert (len(plain.requests), kept.idle) == (1, 0)


def test_no_more_than_a_number_of_connections_is_kept(
    plain: HostileServer, kept: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_IDLE", 2)
    together = threading.Barrier(5)

    def behave(server: HostileServer, line: object) -> None:
        together.wait(5)
        WELL(server, line)  # type: ignore[arg-type]

    plain.behaviour = KeepAlive(behave)
    transport = Transport(timeout=TIMEOUT, connections=kept)
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda _: transport.send("GET", plain.url), range(5)))
    assert (plain.connections, kept.idle) == (5, 2)


def test_a_change_of_the_route_is_noticed_and_what_belonged_to_the_old_one_is_closed(
    secured: HostileServer, bundle: str
) -> None:
    old = shared_connections(Route())
    with pytest.raises(OntraportUnavailable) as caught:
        call(secured.url)
    assert caught.value.code == "tls"
    call(secured.url, bundle)
    new = shared_connections(Route(ca_bundle=bundle))
    assert (new is old, new.idle) == (False, 1)
    with pytest.raises(OntraportUnavailable):
        call(secured.url)
    assert new.idle == 0
    with Transport(timeout=TIMEOUT, connections=new) as transport:  # begun before the change
        transport.send("GET", secured.url)
    assert new.idle == 0


def test_a_ca_bundle_that_was_replaced_is_noticed(
    secured: HostileServer, bundle: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    call(secured.url, bundle)
    folder = tmp_path_factory.mktemp("other")
    certificate(folder)
    os.replace(folder / f"{HOST}.pem", bundle)  # noqa: PTH105
    with pytest.raises(OntraportUnavailable) as caught:
        call(secured.url, bundle)
    assert (caught.value.code, len(secured.requests)) == ("tls", 1)


def revocation_list() -> bytes:
    """Return a well-formed PEM file without a certificate."""
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([])).last_update(now).next_update(now)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n", revocation_list(), "folder"],
    ids=["missing", "empty", "text", "cut short", "a revocation list", "a folder"],
)
def test_a_ca_bundle_that_cannot_be_used_is_the_operators_and_nothing_is_sent(
    secured: HostileServer, tmp_path: Path, content: bytes | str | None
) -> None:
    file = tmp_path / "ca.pem"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        file.mkdir()
    with pytest.raises(OntraportMisconfigured, match="ONTRAPORT_CA_BUNDLE") as caught:
        call(secured.url, str(file))
    assert (caught.value.code, secured.requests) == ("ca_bundle", [])


def test_nothing_about_tls_is_taken_from_the_environment(
    secured: HostileServer, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, bundle)
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with pytest.raises(OntraportUnavailable) as caught:
        call(secured.url)
    call(secured.url, bundle)
    assert caught.value.code == "tls"
    assert not (tmp_path / "keys").exists()


def run(script: str, url: str, bundle: str) -> str:
    start = (
        "import os, sys, threading\n"
        "from ontraport_connect.protocol import Route, Transport, close_idle_connections, shared_transport\n"
        "from ontraport_connect.protocol.connections import shared_connections\n"
        "url, bundle = sys.argv[1:]\n"
        "def call():\n"
        "    with shared_transport(timeout=(5, 5), route=Route(ca_bundle=bundle)) as transport:\n"
        "        assert transport.send('POST', url).json() == {'a': 1}\n"
    )
    command = [sys.executable, "-W", "error", "-c", script.replace("START\n", start), url, bundle]
    environ = {
        **os.environ,
        "TEST_DATABASE": "sqlite",
    }  # a forked child would stop a server that the settings have started
    ran = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.strip()


def test_a_forked_process_has_connections_of_its_own_and_leaves_those_of_its_parent_alone(
    secured: HostileServer, bundle: str
) -> None:
    script = """
START
call(); call()
held = shared_transport(timeout=(5, 5), route=Route(ca_bundle=bundle))
if not os.fork():
    call(); call()
    assert held.send("POST", url).json() == {"a": 1}
    assert shared_connections(Route(ca_bundle=bundle)).idle == 1
    sys.exit()
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
call()
print(shared_connections(Route(ca_bundle=bundle)).idle)
"""
    assert run(script, secured.url, bundle) == "1"
    assert (len(secured.requests), secured.connections) == (6, 3)


def test_a_fork_in_the_middle_of_a_handshake_of_another_thread_stops_nobody(
    secured: HostileServer, bundle: str
) -> None:
    script = """
import warnings
START
from ontraport_connect.protocol import connections, tls
warnings.simplefilter("ignore", DeprecationWarning)
with tls._lock, connections._process._lock:  # as a thread of the parent may hold them
    child = os.fork()
    if not child:
        call()
        sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    run(script, secured.url, bundle)
    assert len(secured.requests) == 1


def test_greenlets_share_connections_and_other_system_threads_under_gevent_do_not(
    secured: HostileServer, bundle: str
) -> None:
    """A gevent socket belongs to the event loop of its thread. Connections of other threads are not kept."""
    pytest.importorskip("gevent")
    script = """
from gevent import monkey
monkey.patch_all()
import gevent
START
gevent.joinall([gevent.spawn(call) for _ in range(10)], raise_error=True)
gevent.joinall([gevent.spawn(call) for _ in range(10)], raise_error=True)
gevent.get_hub().threadpool.apply(call)
gevent.get_hub().threadpool.apply(close_idle_connections)
print(shared_connections(Route(ca_bundle=bundle)).idle)
"""
    idle = int(run(script, secured.url, bundle))
    assert len(secured.requests) == 21
    assert idle + 1 == secured.connections <= 11
