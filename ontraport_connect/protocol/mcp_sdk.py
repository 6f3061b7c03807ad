"""The types of the MCP SDK, which need not be installed (extra ``mcp``).

They are imported by the first call: that takes half a second, which a starting site does not wait for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ontraport_connect.exceptions import OntraportMisconfigured

TYPES = ("mcp_types", "pydantic", "pydantic_core")


def is_mcp_installed() -> bool:
    return all(find_spec(name) is not None for name in ("mcp", *TYPES))


def require_mcp() -> None:
    """Import the types of the SDK. Raises ``OntraportMisconfigured`` when it is not installed."""
    if all(name in sys.modules for name in TYPES):
        return
    if not is_mcp_installed():
        raise OntraportMisconfigured(
            "Calling Ontraport's MCP server needs the MCP SDK: pip install 'django-ontraport-connect[mcp]'.",
            code="no_mcp",
        )
    for name in TYPES:
        import_module(name)


def sdk(module: str) -> Any:
    """Return a module that ``require_mcp`` has imported."""
    return import_module(module)
