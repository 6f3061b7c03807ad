"""Call Ontraport with an account: REST, MCP, and auth objects for HTTP clients.

Credentials are refreshed before they are used, and calls stay within Ontraport's rate limit.
"""

from .credentials import prepare
from .httpx_auth import HttpxAuth
from .mcp_calls import acall_tool, alist_tools, call_tool, list_tools
from .rate_limiter import throttle
from .requests_auth import AccountAuth
from .rest_api import Pages, arest, rest
from .waiting import patience

__all__ = [
    "AccountAuth",
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
