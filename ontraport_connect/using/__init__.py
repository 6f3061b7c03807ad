"""Call Ontraport with an account: REST, MCP, and auth objects for HTTP clients.

Credentials are refreshed before they are used, and calls stay within Ontraport's rate limit.
"""

from importlib import import_module
from typing import Any

from .credentials import KEY_REFUSED, prepare
from .mcp_calls import acall_tool, alist_tools, call_tool, list_tools
from .mcp_requests import end_all as end_sessions
from .rate_limiter import throttle
from .rate_store import DatabaseStore, counted_in_memory, delete_idle_budgets
from .requests_auth import AccountAuth
from .rest_api import arest, rest
from .rest_pages import Pages
from .waiting import in_request, patience

__all__ = [
    "KEY_REFUSED",
    "AccountAuth",
    "DatabaseStore",
    "HttpxAuth",  # by __getattr__
    "Pages",
    "acall_tool",
    "alist_tools",
    "arest",
    "call_tool",
    "counted_in_memory",
    "delete_idle_budgets",
    "end_sessions",
    "in_request",
    "list_tools",
    "patience",
    "prepare",
    "rest",
    "throttle",
]


def __getattr__(name: str) -> Any:
    """Import httpx and httpx2 when ``HttpxAuth`` is first used, and not when the site starts."""
    if name == "HttpxAuth":
        return import_module(f"{__name__}.httpx_auth").HttpxAuth
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
