"""Ontraport over HTTP: messages, transport, errors. Values in, values out; nothing here knows Django.

``http`` sends requests, ``oauth`` speaks to the authorization server, ``mcp`` to the MCP server.
"""

from importlib import import_module
from typing import Any

from .answer import Answer
from .authorization_response import AuthorizationResponse
from .connections import close_connections, close_idle_connections
from .event_loop import run_in_background
from .failures import FAILURES, excerpt
from .http import Transport, reveal, shared_transport
from .mcp import (
    REQUESTS_PER_CALL,
    call_mcp_tool,
    list_mcp_tools,
    run_mcp,
    tool_value,
)
from .mcp_sdk import is_mcp_installed, require_mcp
from .oauth import PRESETS, Client, Endpoints, challenge_of, new_verifier
from .oauth_responses import OPERATOR_ERRORS, Grant
from .retry_after import LONGEST_PAUSE, pause_of
from .route import Proxy, Route
from .secure_urls import is_loopback, require_secure
from .tls import tls_context
from .wire import Wire, plug_in

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
    "Proxy",
    "Route",
    "Transport",
    "Wire",
    "call_mcp_tool",
    "challenge_of",
    "close_connections",
    "close_idle_connections",
    "excerpt",
    "is_loopback",
    "is_mcp_installed",
    "list_mcp_tools",
    "new_verifier",
    "pause_of",
    "plug_in",
    "require_mcp",
    "require_secure",
    "reveal",
    "run_in_background",
    "run_mcp",
    "shared_transport",
    "tls_context",
    "tool_value",
]


def __getattr__(name: str) -> Any:
    """Import httpx and httpx2 when ``HttpxAuthBase`` is first used, and not when the site starts."""
    if name == "HttpxAuthBase":
        return import_module(f"{__name__}.httpx_base").HttpxAuthBase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
