"""Responses of a hostile server that repeat the request, secrets included, wherever a response has room."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import quote

from tests.support.hostile_server import Behaviour, HostileServer, answer, raw, reset
from tests.support.marks import MARKS


def tokens(first: bool = True, **more: Any) -> Behaviour:
    prefix = "" if first else "second "
    return answer(
        json.dumps(
            {
                "access_token": MARKS[f"{prefix}access token"],
                "refresh_token": MARKS[f"{prefix}refresh token"],
                "token_type": "bearer",
                "expires_in": 3600,
                **more,
            }
        )
    )


def is_mcp(server: HostileServer) -> bool:
    """Return whether the last request was MCP. The SDK's HTTP library logs the head of each response, so nothing is echoed in it."""
    return server.requests[-1].startswith(b"POST /mcp ")


def echo(status: str, error: str, location: str = "") -> Behaviour:
    """Respond with the request in the status line, the headers and the body."""

    def behave(server: HostileServer, connection: socket.socket) -> None:
        asked = server.requests[-1].decode(errors="replace").replace("\r\n", " ")
        body = {"error": error, "error_description": asked, "error_uri": f"https://x/?{asked}", asked: asked}
        head = "" if is_mcp(server) else asked
        headers = f"X-Echo: {head}\r\nSet-Cookie: a={head}\r\n"
        if location:
            headers += f"Location: {location}?{quote(head)}\r\n"
        answer(json.dumps(body), status=f"{status} {head}", headers=headers)(server, connection)

    return behave


def echo_broken(server: HostileServer, connection: socket.socket) -> None:
    """Respond with the request in place of a header."""
    asked = b"no colon" if is_mcp(server) else server.requests[-1].replace(b"\r\n", b" ")
    raw(b"HTTP/1.1 200 OK\r\n" + asked + b"\r\nContent-Length: 2\r\n\r\n{}")(server, connection)


def echo_status(server: HostileServer, connection: socket.socket) -> None:
    raw(b"GET / HTTP/1.1\r\n\r\n" if is_mcp(server) else server.requests[-1])(server, connection)


FAULTS: dict[str, Behaviour] = {
    "invalid_grant": echo("400", "invalid_grant"),
    "invalid_client": echo("401", "invalid_client"),
    "an error of their own": echo("400", "canary"),
    "500": echo("500", ""),
    "429": echo("429", ""),
    "redirect": echo("307", "", location="http://127.0.0.1:1/"),
    "a broken header": echo_broken,
    "the request as the answer": echo_status,
    "tokens that are none": tokens(token_type="mac"),
    "not UTF-8": answer(MARKS["access token"].encode() + b"\xff"),
    "reset": reset(b"HTTP/1.1 200 OK\r\n"),
}
