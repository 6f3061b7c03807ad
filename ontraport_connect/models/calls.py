"""The calls that an account offers. The wing ``using`` makes them; it imports the models, so it is looked up when a call is made."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from django.db import models
from requests.auth import AuthBase


def _using() -> Any:
    """Return the wing that makes the calls. This is the one import that points up."""
    return import_module("ontraport_connect.using")


class UsesOntraport(models.Model):
    """The calls of an account."""

    class Meta:
        abstract = True

    def auth(self) -> AuthBase:
        """Return a ``requests`` auth that attaches the credentials, refreshes ahead of expiry, and once on a 401."""
        return cast("AuthBase", _using().AccountAuth(self))

    def httpx_auth(self) -> Any:
        """Return the same for a client of httpx, or of the official MCP SDK, that calls the MCP server."""
        return _using().HttpxAuth(self)

    def rest(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Ontraport's REST API; see ``using.rest``."""
        return _using().rest(self, method, path, **kwargs)

    async def arest(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Ontraport's REST API in an async view; see ``using.rest``."""
        return await _using().arest(self, method, path, **kwargs)

    def rest_pages(self, path: str, **params: Any) -> Any:
        """Go through a list of Ontraport's REST API, with ``for`` or ``async for``; see ``using.Pages``."""
        return _using().Pages(self, path, params)

    def mcp(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool of Ontraport's MCP server; see ``using.call_tool``."""
        return _using().call_tool(self, tool, arguments)

    async def amcp(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool of Ontraport's MCP server in an async view; see ``using.call_tool``."""
        return await _using().acall_tool(self, tool, arguments)

    def mcp_tools(self) -> Any:
        """Return the tools of Ontraport's MCP server that this site may use; see ``using.list_tools``."""
        return _using().list_tools(self)

    async def amcp_tools(self) -> Any:
        """Return the same in an async view."""
        return await _using().alist_tools(self)
