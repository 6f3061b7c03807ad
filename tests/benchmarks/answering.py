"""A server for the benchmarks, over http and over https: ``python -m tests.benchmarks.answering FOLDER``.

It is one asyncio protocol in a process of its own, so that it limits no benchmark. ``GET /counts`` tells the connections and requests so
far, and ``GET /spent`` when each refresh token was spent, in seconds of ``time.monotonic()``. ``PUT /delay/SECONDS`` makes what follows
slower.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests.support.hostile_server import certificate
from tests.support.servers import HOST, PROJECT

OBJECTS = 2000
PAGE = 50
CONTACT = {"firstname": "Maya", "lastname": "Okafor", "email": "maya@example.com", "owner": "1", "date": "1764000000"}


class State:
    """What all connections of the server share."""

    connections = 0
    requests = 0
    delay = 0.0
    spent: dict[str, float]

    def __init__(self) -> None:
        self.spent = {}

    def answer(self, method: str, target: str, body: bytes) -> Any:
        path = urlsplit(target).path
        match method, path.split("/")[1:]:
            case "GET", ["counts"]:
                return {"connections": self.connections, "requests": self.requests}
            case "GET", ["spent"]:
                return self.spent
            case "PUT", ["delay", seconds]:
                self.delay = float(seconds)
                return {}
            case "POST", ["token"]:
                token = parse_qs(body.decode())["refresh_token"][0]
                self.spent[token] = time.monotonic()
                return {
                    "access_token": f"a.{token}",
                    "refresh_token": f"{token}+",
                    "token_type": "Bearer",
                    "expires_in": 3600,
                }
            case _:
                return self.objects(parse_qs(urlsplit(target).query))

    def objects(self, query: dict[str, list[str]]) -> Any:
        first, count = (int(query.get(name, ["0"])[0]) for name in ("start", "range"))
        found = [{"id": str(number), **CONTACT} for number in range(first, min(first + count, OBJECTS))]
        return {"code": 0, "data": found, "account_id": 187157}


class Connection(asyncio.Protocol):
    def __init__(self, state: State) -> None:
        self.state = state
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.state.connections += 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        line, *headers = head.decode().split("\r\n")
        lengths = [int(each.split(":")[1]) for each in headers if each.lower().startswith("content-length:")]
        if len(body) < sum(lengths):
            return
        self.received = b""
        self.state.requests += 1
        method, target, _ = line.split()
        asyncio.get_running_loop().call_later(self.state.delay, self.respond, method, target, body)

    def respond(self, method: str, target: str, body: bytes) -> None:
        answer = json.dumps(self.state.answer(method, target, body)).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + answer)


async def serve(folder: str) -> None:
    loop, state = asyncio.get_running_loop(), State()
    plain = await loop.create_server(lambda: Connection(state), HOST, 0, backlog=200)
    secure = await loop.create_server(lambda: Connection(state), HOST, 0, backlog=200, ssl=certificate(Path(folder)))
    print(*(server.sockets[0].getsockname()[1] for server in (plain, secure)), flush=True)
    await asyncio.Event().wait()


@dataclass(frozen=True, kw_only=True)
class Server:
    """The two addresses of one server, and the path of the CA that it is trusted by."""

    http: str
    https: str
    bundle: str

    def url(self, scheme: str) -> str:
        return self.https if scheme == "https" else self.http

    def get(self, path: str) -> Any:
        return requests.get(f"{self.http}/{path}", timeout=10).json()

    def delay(self, seconds: float) -> None:
        requests.put(f"{self.http}/delay/{seconds}", timeout=10).raise_for_status()


@contextmanager
def answering() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.answering", folder]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            plain, secure = process.stdout.readline().split()
            try:
                yield Server(
                    http=f"http://{HOST}:{plain}", https=f"https://{HOST}:{secure}", bundle=f"{folder}/{HOST}.pem"
                )
            finally:
                process.terminate()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
