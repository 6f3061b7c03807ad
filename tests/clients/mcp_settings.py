"""The settings of the stand-in under which every MCP client makes its calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.sandbox_client import KEY_PAIR

BEARER_PAIR = {"Authorization": "Bearer 2_187157_sandbox:sandbox-key-owner"}
NO_WORDS = "Server returned an error response"
"""What the MCP SDK for Python says of every refusal that is not JSON-RPC. What Ontraport says is not."""

REFUSED_KEYS = f"401|Unauthorized|Bearer token required|{NO_WORDS}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Switches, and what a client authenticates with: headers, or a token that is fetched first where there are none.

    ``versions`` are the protocol versions that may be agreed on. ``refusal`` are words with which connecting must be refused.
    """

    name: str
    switches: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=lambda: KEY_PAIR)
    versions: tuple[str, ...] = ("2025-06-18", "2025-11-25")
    refusal: str | None = None


SETTINGS = (
    Setting(name="as it starts"),
    Setting(name="an access token", headers={}),
    Setting(name="app id and key as a bearer", headers=BEARER_PAIR),
    Setting(name="wrong keys", headers={"Api-Appid": "2_1_x", "Api-Key": "x"}, refusal=REFUSED_KEYS),
    Setting(name="keys: headers only", switches={"mcp_keys": "headers"}),
    Setting(
        name="keys: headers only, a bearer is sent",
        switches={"mcp_keys": "headers"},
        headers=BEARER_PAIR,
        refusal=REFUSED_KEYS,
    ),
    Setting(name="keys: bearer only", switches={"mcp_keys": "bearer"}, headers=BEARER_PAIR),
    Setting(name="keys: bearer only, headers are sent", switches={"mcp_keys": "bearer"}, refusal=REFUSED_KEYS),
    Setting(name="keys: headers only, an access token", switches={"mcp_keys": "headers"}, headers={}),
    Setting(name="sessions offered", switches={"mcp_sessions": "offered"}),
    Setting(name="sessions required", switches={"mcp_sessions": "required"}),
    Setting(name="a GET stream", switches={"mcp_stream": 0.5}),
    Setting(name="sessions required, a GET stream", switches={"mcp_sessions": "required", "mcp_stream": 0.5}),
    Setting(name="old versions", switches={"mcp_versions": "old"}, versions=("2024-11-05", "2025-03-26")),
    Setting(name="the newest version", switches={"mcp_versions": "new"}, versions=("2025-11-25",)),
    Setting(name="results are text", switches={"mcp_results": "text"}),
    Setting(name="errors inside results", switches={"mcp_errors_in_results": True}),
    Setting(
        name="as Ontraport's published server",
        switches={
            "mcp_sessions": "required",
            "mcp_unknown_session": 400,
            "mcp_results": "text",
            "mcp_errors_in_results": True,
            "mcp_list_first": True,
            "mcp_keys": "headers",
        },
    ),
)
