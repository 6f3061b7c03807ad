"""An MCP server made with the official SDK: ``python -m tests.support.sdk_server [--stateless] [--json] [--tls FOLDER] [--modern]``.

``GET /requests`` tells how many requests it has had. It speaks all protocols; ``--modern`` refuses those with a handshake.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import requests
import uvicorn
from mcp.server.mcpserver import MCPServer
from pydantic import Field
from starlette.responses import JSONResponse, PlainTextResponse

from tests.support.hostile_server import certificate
from tests.support.servers import HOST, Process

PATH = "/mcp"


def count(objectID: str) -> dict[str, int]:  # noqa: N803  # as Ontraport's tools have it
    """Count objects."""
    return {"count": len(objectID)}


def locate(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Return what the header has to repeat."""
    return region


class Counting:
    """Counts requests, and refuses what ``--modern`` says."""

    def __init__(self, app: Callable[..., Awaitable[None]], *, modern: bool) -> None:
        self.app = app
        self.modern = modern
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if scope.get("path") == "/requests":
            await PlainTextResponse(str(self.requests))(scope, receive, send)
            return
        self.requests += scope["type"] == "http"
        if self.modern and scope["type"] == "http" and b"mcp-method" not in headers:
            error = {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": ["2026-07-28"]}}
            await JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class SdkServer:
    """The server in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._process = Process(sys.executable, "-m", __name__, *options, log=folder / "sdk-server.log")
        self.root = self._process.wait_for_line(r"^Ready at (\S+)")[1]
        self.url = f"{self.root}{PATH}"
        self.bundle = str(folder / f"{HOST}.pem") if "--tls" in options else None

    def requests(self) -> int:
        return int(requests.get(f"{self.root}/requests", verify=self.bundle, timeout=10).text)

    def stop(self) -> None:
        self._process.stop()


@contextmanager
def sdk_server(folder: Path, *options: str) -> Iterator[SdkServer]:
    server = SdkServer(folder, *options)
    try:
        yield server
    finally:
        server.stop()


class Announcing(uvicorn.Server):
    """Says where it listens, once it does."""

    scheme = "http"

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(f"Ready at {self.scheme}://{HOST}:{self.servers[0].sockets[0].getsockname()[1]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--stateless", "--json", "--modern"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("--tls", type=Path)
    arguments = parser.parse_args()
    server = MCPServer("test")
    server.tool()(count)
    server.tool()(locate)
    app = server.streamable_http_app(
        streamable_http_path=PATH, json_response=arguments.json, stateless_http=arguments.stateless
    )
    config = uvicorn.Config(
        Counting(app, modern=arguments.modern), host=HOST, port=0, log_level="warning", timeout_keep_alive=30
    )
    if arguments.tls:
        certificate(arguments.tls)
        config.ssl_certfile = config.ssl_keyfile = arguments.tls / f"{HOST}.pem"
    announcing = Announcing(config)
    announcing.scheme = "https" if arguments.tls else "http"
    announcing.run()


if __name__ == "__main__":
    main()
