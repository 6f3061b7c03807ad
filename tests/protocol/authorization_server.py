"""This site as an OAuth client of a scripted authorization server."""

from __future__ import annotations

import json
from typing import Any

from ontraport_connect.encryption import Secret
from ontraport_connect.protocol import Client, Endpoints, Grant, Transport
from tests.support.hostile_server import HostileServer, KeepAlive, answer

GOOD = {
    "access_token": "access",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "next",
    "scope": "mcp:tools",
}


def client_of(server: HostileServer, **differences: Any) -> Client:
    endpoints = Endpoints(
        issuer=server.url,
        authorization_endpoint=f"{server.url}/authorize",
        token_endpoint=f"{server.url}/token",
        revocation_endpoint=f"{server.url}/revoke",
        registration_endpoint=f"{server.url}/register",
    )
    values: dict[str, Any] = {
        "client_id": "id",
        "client_secret": Secret("canary-secret"),
        "endpoints": endpoints,
        "scopes": ("mcp:tools",),
        "resource": "https://mcp.example",
    }
    return Client(**{**values, **differences})


def refresh(
    server: HostileServer, transport: Transport, body: object, status: str = "200 OK", headers: str = ""
) -> Grant:
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    server.behaviour = KeepAlive(answer(content, status=status, headers=headers))
    return client_of(server).refresh(transport, Secret("canary-refresh"))


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def raw_member(name: str, text: str) -> str:
    """Return the good token response with one member replaced by this JSON text."""
    return json.dumps({**GOOD, name: "@"}).replace('"@"', text)
