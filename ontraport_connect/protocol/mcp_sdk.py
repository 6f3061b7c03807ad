"""The MCP SDK and its HTTP client, which need not be installed (extra ``mcp``).

They are imported by the first call: together they take half a second, which a starting site does not wait for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ontraport_connect.exceptions import OntraportMisconfigured


def is_mcp_installed() -> bool:
    return find_spec("httpx2") is not None and find_spec("mcp") is not None


def require_mcp() -> None:
    """Import the SDK. Raises ``OntraportMisconfigured`` when it is not installed.

    To be called in the caller's thread: the locks of imports are patched by gevent, and do not belong in the thread of the event loop.
    """
    if not is_mcp_installed():
        raise OntraportMisconfigured(
            "Calling Ontraport's MCP server needs the MCP SDK: pip install 'django-ontraport-connect[mcp]'.",
            code="no_mcp",
        )
    for name in ("anyio", "httpx2", "mcp", "mcp.client.streamable_http", "mcp.types"):
        import_module(name)


def sdk(module: str) -> Any:
    """Return a module that ``require_mcp`` has imported."""
    return import_module(module)
