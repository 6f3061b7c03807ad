"""What an account can be used for. The modules that do it stand above the models, so they are looked up when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from django.db import models
from requests.auth import AuthBase


def _upper(module: str) -> Any:
    """Return a module that uses accounts. It stands above the models, so it is looked up when it is used."""
    return import_module(f"ontraport_connect.{module}")


class UsesOntraport(models.Model):
    """The calls of an account."""

    class Meta:
        abstract = True

    def auth(self) -> AuthBase:
        """Return a ``requests`` auth that attaches the credentials, refreshes ahead of expiry, and once on a 401."""
        return cast("AuthBase", _upper("access").AccountAuth(self))

    def httpx_auth(self) -> Any:
        """Return the same for a client of httpx, or of the official MCP SDK, that calls the MCP server."""
        return _upper("httpx_auth").HttpxAuth(self)

    def rest(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Ontraport's REST API; see ``rest.rest``."""
        return _upper("rest").rest(self, method, path, **kwargs)

    async def arest(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Ontraport's REST API in an async view; see ``rest.rest``."""
        return await _upper("rest").arest(self, method, path, **kwargs)

    def rest_pages(self, path: str, **params: Any) -> Any:
        """Go through a list of Ontraport's REST API, with ``for`` or ``async for``; see ``rest.Pages``."""
        return _upper("rest").Pages(self, path, params)

    def mcp(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool of Ontraport's MCP server; see ``mcp_calls.call``."""
        return _upper("mcp_calls").call(self, tool, arguments)

    async def amcp(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool of Ontraport's MCP server in an async view; see ``mcp_calls.call``."""
        return await _upper("mcp_calls").acall(self, tool, arguments)

    def mcp_tools(self) -> Any:
        """Return the tools of Ontraport's MCP server that this site may use; see ``mcp_calls.list_tools``."""
        return _upper("mcp_calls").list_tools(self)

    async def amcp_tools(self) -> Any:
        """Return the same in an async view."""
        return await _upper("mcp_calls").alist_tools(self)
