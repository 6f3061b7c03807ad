"""Which clients are installed here, with their versions, and how each is started."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

PROGRAMS = Path(__file__).parent / "programs"
NODE_CLIENTS = Path(os.environ.get("NODE_CLIENTS", "node_clients"))
"""The folder in which npm has installed."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """``kind`` is ``mcp``, ``oauth`` or ``rest``. ``can`` is what the client does beyond what all of its kind do."""

    name: str
    program: str
    kind: str
    can: frozenset[str] = frozenset()

    @property
    def is_python(self) -> bool:
        return not self.program.endswith(".mjs")

    @property
    def command(self) -> list[str]:
        if self.is_python:
            return [sys.executable, "-m", f"tests.clients.programs.{self.program}"]
        return [str(which("node")), str(PROGRAMS / self.program)]

    def version(self) -> str:
        """Return the version that is installed, or nothing."""
        if self.is_python:
            try:
                return version(self.name)
            except PackageNotFoundError:
                return ""
        package = NODE_CLIENTS / "node_modules" / self.name / "package.json"
        return str(json.loads(package.read_text())["version"]) if which("node") and package.exists() else ""


EVERYTHING = frozenset({"register", "revoke", "resource", "issuer"})

CLIENTS = (
    Client(name="@modelcontextprotocol/sdk", program="mcp_sdk.mjs", kind="mcp", can=frozenset({"oauth"})),
    Client(name="@ai-sdk/mcp", program="ai_sdk.mjs", kind="mcp"),
    Client(name="mcp", program="mcp_sdk", kind="mcp", can=frozenset({"oauth", "issuer"})),
    Client(name="fastmcp", program="fastmcp_client", kind="mcp", can=frozenset({"oauth", "issuer"})),
    Client(name="dlt", program="dlt_client", kind="rest"),
    Client(name="oauth4webapi", program="oauth4webapi.mjs", kind="oauth", can=EVERYTHING),
    Client(name="openid-client", program="openid_client.mjs", kind="oauth", can=EVERYTHING),
    Client(name="simple-oauth2", program="simple_oauth2.mjs", kind="oauth", can=frozenset({"revoke"})),
    Client(name="Authlib", program="authlib_client", kind="oauth", can=frozenset({"revoke", "resource"})),
    Client(name="requests-oauthlib", program="requests_oauthlib_client", kind="oauth", can=frozenset({"resource"})),
)


def installed() -> Iterator[tuple[Client, str]]:
    """Yield each client that can be run here, with its version."""
    for client in CLIENTS:
        there = client.version()
        if there:
            yield client, there
