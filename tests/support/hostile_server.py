"""A server that mistreats its clients: raw sockets on port 0, one behaviour for all requests.

A behaviour is a function that gets the connected socket after the request has been read. Requests are recorded, so that a test can tell
what the client sent and how often.
"""

import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.servers import HOST

Behaviour = Callable[["HostileServer", socket.socket], None]


def answer(body: bytes | str, *, status: str = "200 OK", headers: str = "") -> Behaviour:
    """Return a behaviour that answers as a well-behaved server does: where it hangs up, it says so (RFC 9112, 9.6)."""
    content = body.encode(errors="surrogatepass") if isinstance(body, str) else body

    def behave(server: "HostileServer", connection: socket.socket) -> None:
        end = "" if isinstance(server.behaviour, KeepAlive) else "Connection: close\r\n"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{end}{headers}\r\n"
        connection.sendall(head.encode() + content)

    return behave


def raw(data: bytes) -> Behaviour:
    """Return a behaviour that sends ``data`` and hangs up."""

    def behave(server: "HostileServer", connection: socket.socket) -> None:
        connection.sendall(data)

    return behave


def drip(head: bytes, drop: bytes, pause: float = 0.05) -> Behaviour:
    """Return a behaviour that sends the head at once, and then one drop after each pause, without end."""

    def behave(server: "HostileServer", connection: socket.socket) -> None:
        connection.sendall(head)
        while not server.closing.wait(pause):
            connection.sendall(drop)

    return behave


def endless(head: bytes, chunk: bytes) -> Behaviour:
    """Return a behaviour that sends data as fast as the connection takes it, without end."""

    def behave(server: "HostileServer", connection: socket.socket) -> None:
        connection.sendall(head)
        while not server.closing.is_set():
            connection.sendall(chunk)

    return behave


def black_hole(server: "HostileServer", connection: socket.socket) -> None:
    """Read the request and send nothing."""
    server.closing.wait()


def reset(after: bytes) -> Behaviour:
    """Return a behaviour that sends the bytes ``after`` and then resets the connection."""

    def behave(server: "HostileServer", connection: socket.socket) -> None:
        connection.sendall(after)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return behave


def gzip_bomb(megabytes: int) -> Behaviour:
    """Return a behaviour that sends a small gzip body, which inflates a thousandfold."""
    return answer(gzip.compress(b"\0" * megabytes * 2**20), headers="Content-Encoding: gzip\r\n")


class HostileServer:
    """Serves one behaviour to all clients, with a thread for each. ``requests`` holds the bytes that were sent."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.behaviour: Behaviour = black_hole
        self.requests: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self._context = context
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://{HOST}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), ExitStack() as stack:
            stack.callback(plain.close)
            plain.settimeout(20)
            plain.getpeername()  # a connection that was reset would be leaked by ``wrap_socket`` (of Python 3.11)
            connection = self._context.wrap_socket(plain, server_side=True) if self._context else plain
            stack.enter_context(connection)
            self._open.add(connection)
            stack.callback(self._open.discard, connection)
            while request := read_request(connection):
                self.requests.append(request)
                self.behaviour(self, connection)
                if not isinstance(self.behaviour, KeepAlive):
                    return

    def close(self) -> None:
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):  # those that clients keep for a next request
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


class KeepAlive:
    """Return a behaviour after which the connection stays open for the next request."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def __call__(self, server: HostileServer, connection: socket.socket) -> None:
        self._behaviour(server, connection)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def hostile_server(
    behaviour: Behaviour = black_hole, *, context: ssl.SSLContext | None = None
) -> Iterator[HostileServer]:
    server = HostileServer(context)
    server.behaviour = behaviour
    try:
        yield server
    finally:
        server.close()


def certificate(folder: Path, *, host: str = HOST, days: int = 1) -> ssl.SSLContext:
    """Return the server side of TLS, with a self-signed certificate. It has expired when ``days`` is negative."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    alternative: x509.GeneralName = x509.DNSName(host)
    with suppress(ValueError):
        alternative = x509.IPAddress(ipaddress.ip_address(host))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    file = folder / f"{host}.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + signed.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
