"""Ontraport over HTTP: messages, transport, errors. Values in, values out; nothing here knows Django.

``http`` sends requests, ``oauth`` talks to the authorization server, ``mcp`` to the MCP server.
"""

from importlib import import_module
from typing import Any

from .authorization_response import AuthorizationResponse
from .event_loop import run_in_background
from .http import FAILURES, Answer, Transport, is_loopback, require_secure, reveal
from .mcp import (
    REQUESTS_PER_CALL,
    call_mcp_tool,
    is_mcp_installed,
    list_mcp_tools,
    require_mcp,
    run_mcp,
    tool_value,
)
from .oauth import OPERATOR_ERRORS, PRESETS, Client, Endpoints, Grant, challenge_of, new_verifier
from .retry_after import LONGEST_PAUSE, pause_of

__all__ = [
    "FAILURES",
    "LONGEST_PAUSE",
    "OPERATOR_ERRORS",
    "PRESETS",
    "REQUESTS_PER_CALL",
    "Answer",
    "AuthorizationResponse",
    "Client",
    "Endpoints",
    "Grant",
    "HttpxAuthBase",  # by __getattr__
    "Transport",
    "call_mcp_tool",
    "challenge_of",
    "is_loopback",
    "is_mcp_installed",
    "list_mcp_tools",
    "new_verifier",
    "pause_of",
    "require_mcp",
    "require_secure",
    "reveal",
    "run_in_background",
    "run_mcp",
    "tool_value",
]


def __getattr__(name: str) -> Any:
    """Import httpx and httpx2 when ``HttpxAuthBase`` is first used, and not when the site starts."""
    if name == "HttpxAuthBase":
        return import_module(f"{__name__}.httpx_base").HttpxAuthBase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
