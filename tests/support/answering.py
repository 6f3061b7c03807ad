"""A server that answers as a test tells it to, and records the requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def as_json(document: object, status: int = 200, **headers: str) -> Reply:
    return Reply(
        status=status, body=json.dumps(document).encode(), headers={"Content-Type": "application/json", **headers}
    )


def envelope(data: object, account_id: object = 187157) -> Reply:
    return as_json({"code": 0, "data": data, "account_id": account_id})


class Answering:
    """An HTTP server in a thread. ``reply`` gets each request and returns the response; ``None`` closes the connection without one.

    ``connections`` is how many are open.
    """

    def __init__(self, reply: Callable[[Asked], Reply | None]) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(reply))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self, reply: Callable[[Asked], Reply | None]) -> type[BaseHTTPRequestHandler]:
        asked, counted = self.asked, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with counted.lock:
                    counted.connections += 1

            def finish(self) -> None:
                with counted.lock:
                    counted.connections -= 1
                super().finish()

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Asked(method=self.command, path=self.path, headers=dict(self.headers), body=body)
                asked.append(request)
                answer = reply(request)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  # as the base class wants them

            def log_message(self, *args: Any) -> None:
                """Log nothing."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
