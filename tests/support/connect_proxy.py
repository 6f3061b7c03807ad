"""An HTTP proxy that knows CONNECT and nothing else, on port 0, over TLS if it is given a context."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.support.servers import HOST


class ConnectProxy:
    """`asked` holds the head of each request. With credentials (`user:password`) it refuses who does not bring them."""

    def __init__(self, credentials: str = "", context: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.scheme = "https" if context else "http"
        self._expected = base64.b64encode(credentials.encode()).decode()
        self._context = context
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[connection], daemon=True))
                self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), ExitStack() as stack:
            stack.callback(plain.close)
            client = self._context.wrap_socket(plain, server_side=True) if self._context else plain
            stack.enter_context(client)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.asked.append(head.decode())
            if f"Basic {self._expected}\r\n" not in head.decode() and self._expected:
                client.sendall(b"HTTP/1.1 407 canary-of-the-proxy\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = head.split()[1].decode().rpartition(":")
            server = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._relay, args=[server, client], daemon=True)
            back.start()
            self._relay(client, server)
            back.join(5)

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@contextmanager
def connect_proxy(credentials: str = "", context: ssl.SSLContext | None = None) -> Iterator[ConnectProxy]:
    proxy = ConnectProxy(credentials, context)
    try:
        yield proxy
    finally:
        proxy.close()
