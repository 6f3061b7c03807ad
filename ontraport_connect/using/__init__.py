"""Use an account: its credentials made fresh, REST, MCP, auth objects for HTTP clients, within Ontraport's rate limit."""

from .credentials import KEY_REFUSED, prepare
from .httpx_auth import HttpxAuth
from .mcp_calls import acall_tool, alist_tools, call_tool, list_tools
from .rate_limiter import patience, throttle
from .rate_store import DatabaseStore
from .requests_auth import AccountAuth
from .rest_api import Pages, arest, rest

__all__ = [
    "KEY_REFUSED",
    "AccountAuth",
    "DatabaseStore",
    "HttpxAuth",
    "Pages",
    "acall_tool",
    "alist_tools",
    "arest",
    "call_tool",
    "list_tools",
    "patience",
    "prepare",
    "rest",
    "throttle",
]
