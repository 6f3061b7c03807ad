"""Calls over https, side by side: one `requests.Session`, `Transport.send` over the connections of the process, one `Transport` a call.

    python -m tests.benchmarks.connections [--calls N] [--delay SECONDS] [--threads N] [--json FILE]

The server is a process of its own with a certificate of this run. The ways take turns, and of each the best of `ROUNDS` turns counts, since
whatever else the machine does only makes a turn slower. Ratios are to the Session; handshakes and loads of the CA bundle are those of the
first turn.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import requests

from ontraport_connect.protocol import Route, Transport, close_connections, shared_transport
from ontraport_connect.protocol.connections import Connections
from tests.support.hostile_server import certificate, read_request
from tests.support.servers import HOST, PROJECT

FORM = {"grant_type": "refresh_token", "refresh_token": "x" * 40, "client_id": "id"}
BODY = json.dumps({"access_token": "a" * 40, "token_type": "Bearer", "expires_in": 3600}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
TIMEOUT = (3.05, 10)
ROUNDS = 10

Call = Callable[[], object]


def serve(folder: str, delay: float) -> None:
    """Answer every request with the same token response, `delay` seconds after it, and say how many handshakes there were at `GET /`."""
    context = certificate(Path(folder))
    listener = socket.create_server((HOST, 0), backlog=200)
    print(listener.getsockname()[1], flush=True)

    def answer(plain: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := read_request(connection):
                if request.startswith(b"GET /handshakes "):
                    count = b"%d" % context.session_stats()["accept_good"]
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(count), count))
                    continue
                time.sleep(delay)
                connection.sendall(ANSWER)

    while True:
        plain, _ = listener.accept()
        threading.Thread(target=answer, args=[plain], daemon=True).start()


@contextmanager
def server(delay: float) -> Iterator[tuple[str, str]]:
    """Yield the address of a server and the path of the CA that it is trusted by."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", __spec__.name, "--serve", folder, "--delay", str(delay)]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield f"https://{HOST}:{int(process.stdout.readline())}", f"{folder}/{HOST}.pem"
            process.terminate()


def handshakes(url: str, bundle: str) -> int:
    """Return how many handshakes the server has seen before this one."""
    return int(requests.get(f"{url}/handshakes", verify=bundle, timeout=10).text) - 1


@contextmanager
def loads() -> Iterator[list[str]]:
    """Collect the CA bundles that are loaded, whoever loads them."""
    seen: list[str] = []
    kind: Any = ssl.SSLContext
    original = kind.load_verify_locations

    def load(context: ssl.SSLContext, cafile: Any = None, *args: Any, **kwargs: Any) -> None:
        seen.append(str(cafile))
        original(context, cafile, *args, **kwargs)

    kind.load_verify_locations = load
    try:
        yield seen
    finally:
        kind.load_verify_locations = original


def ways(url: str, bundle: str, threads: int) -> dict[str, Call]:
    session = requests.Session()
    session.trust_env = False
    session.verify = bundle
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=threads))
    route = Route(ca_bundle=bundle)

    def with_session() -> None:
        session.post(url, data=FORM, timeout=TIMEOUT).json()

    def with_shared_transport() -> None:
        with shared_transport(timeout=TIMEOUT, route=route) as transport:
            transport.send("POST", url, form=FORM).json()

    def with_a_transport_a_call() -> None:
        connections = Connections(route)
        Transport(timeout=TIMEOUT, connections=connections).send("POST", url, form=FORM).json()
        connections.close()

    return {
        "requests.Session": with_session,
        "Transport, kept connections": with_shared_transport,
        "Transport, a connection a call": with_a_transport_a_call,
    }


def turn(call: Call, calls: int, threads: int) -> tuple[float, float]:
    """Return the seconds and the seconds of this process's CPU that one of so many calls took."""
    started, used = time.perf_counter(), time.process_time()

    def work(_: int) -> None:
        for _ in range(calls // threads):
            call()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return (time.perf_counter() - started) / calls, (time.process_time() - used) / calls


def measure(calls: int, delay: float, threads: int) -> list[dict[str, Any]]:
    """Let the ways take turns of `calls` calls each, and return the best of each."""
    counts: dict[str, dict[str, int]] = {}
    best: dict[str, tuple[float, float]] = {}
    with server(delay) as (url, bundle):
        made = ways(url, bundle, threads)
        for name, call in [*made.items()] * ROUNDS:
            before = handshakes(url, bundle)
            with loads() as loaded:
                took = turn(call, calls, threads)
            seen = {"handshakes": handshakes(url, bundle) - before - 1, "CA bundles loaded": len(loaded)}
            counts.setdefault(name, seen)
            best[name] = tuple(map(min, took, best.get(name, took)))  # type: ignore[assignment]
        close_connections()
    seconds, cpu = best["requests.Session"]
    return [
        {
            "way": name,
            "ms a call": round(found[0] * 1000, 3),
            "ratio": round(found[0] / seconds, 2),
            "ratio of CPU": round(found[1] / cpu, 2),
            "calls": calls,
            **counts[name],
        }
        for name, found in best.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.connections", description=__doc__)
    parser.add_argument("--calls", type=int, default=320, help="calls of one turn")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that the server takes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.delay)
    rows = measure(arguments.calls, arguments.delay, arguments.threads)
    for row in rows:
        print("  ".join(f"{name}: {value}" for name, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
