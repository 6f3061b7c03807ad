"""Ontraport over HTTP: messages, transport, errors. Values in, values out; nothing here knows Django.

``http`` sends requests, ``oauth`` speaks to the authorization server, ``mcp`` to the MCP server.
"""

from importlib import import_module
from typing import Any

from .answer import Answer
from .authorization_response import AuthorizationResponse
from .connections import close_connections, close_idle_connections
from .deadline import LONGEST_LOOKUP, monotonic_seconds
from .failures import FAILURES, excerpt
from .http import Transport, shared_transport
from .mcp import Conversation, TimeLimit, ask_once, send_message
from .mcp_messages import Message, as_json, end_of
from .mcp_results import status_of, tool_value
from .mcp_sdk import is_mcp_installed, require_mcp
from .mcp_sessions import Session, Sessions
from .oauth import PRESETS, Client, Endpoints, challenge_of, new_verifier
from .oauth_responses import ASSUMED_LIFETIME, OPERATOR_ERRORS, Grant
from .request import reveal
from .retry_after import LONGEST_PAUSE, pause_of
from .route import Proxy, Route
from .secure_urls import is_loopback, require_secure
from .tls import tls_context
from .wire import Wire, plug_in

__all__ = [
    "ASSUMED_LIFETIME",
    "FAILURES",
    "LONGEST_LOOKUP",
    "LONGEST_PAUSE",
    "OPERATOR_ERRORS",
    "PRESETS",
    "Answer",
    "AuthorizationResponse",
    "Client",
    "Conversation",
    "Endpoints",
    "Grant",
    "HttpxAuthBase",  # by __getattr__
    "Message",
    "Proxy",
    "Route",
    "Session",
    "Sessions",
    "TimeLimit",
    "Transport",
    "Wire",
    "as_json",
    "ask_once",
    "challenge_of",
    "close_connections",
    "close_idle_connections",
    "end_of",
    "excerpt",
    "is_loopback",
    "is_mcp_installed",
    "monotonic_seconds",
    "new_verifier",
    "pause_of",
    "plug_in",
    "require_mcp",
    "require_secure",
    "reveal",
    "send_message",
    "shared_transport",
    "status_of",
    "tls_context",
    "tool_value",
]


def __getattr__(name: str) -> Any:
    """Import httpx and httpx2 when ``HttpxAuthBase`` is first used, and not when the site starts."""
    if name == "HttpxAuthBase":
        return import_module(f"{__name__}.httpx_base").HttpxAuthBase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
