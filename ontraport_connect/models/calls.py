"""The methods with which an account calls Ontraport.

They delegate to ``ontraport_connect.using``, which imports the models and is therefore looked up when a method is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from django.db import models
from requests.auth import AuthBase


def _using() -> Any:
    """Return the package that makes the calls. This is the only import that points up."""
    return import_module("ontraport_connect.using")


class UsesOntraport(models.Model):
    """Adds the calls to ``OntraportAccount``."""

    class Meta:
        abstract = True

    def auth(self) -> AuthBase:
        """Return a ``requests`` auth object. It attaches the credentials, and refreshes them when they are about to expire or on a 401."""
        return cast("AuthBase", _using().AccountAuth(self))

    def httpx_auth(self) -> Any:
        """Return an auth object for httpx and the official MCP SDK, for calls to the MCP server."""
        return _using().HttpxAuth(self)

    def rest(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        patience: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call Ontraport's REST API and return its JSON envelope.

        ``params`` is the query; ``json`` or ``form`` is the body. ``patience`` is the longest wait for a turn, ``timeout`` the longest wait
        for the whole answer, both in seconds. See ``using.rest``.
        """
        return _using().rest(
            self, method, path, params=params, json=json, form=form, patience=patience, timeout=timeout
        )

    async def arest(self, method: str, path: str, **kwargs: Any) -> Any:
        """Async version of ``rest``, with the same arguments."""
        return await _using().arest(self, method, path, **kwargs)

    def rest_pages(self, path: str, **params: Any) -> Any:
        """Iterate over a list of Ontraport's REST API, with ``for`` or ``async for``; see ``using.Pages``."""
        return _using().Pages(self, path, params)

    def mcp(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool of Ontraport's MCP server; see ``using.call_tool``."""
        return _using().call_tool(self, tool, arguments)

    async def amcp(self, tool: str, /, **arguments: Any) -> Any:
        """Async version of ``mcp``."""
        return await _using().acall_tool(self, tool, arguments)

    def mcp_tools(self) -> Any:
        """Return the tools of Ontraport's MCP server that this site may call; see ``using.list_tools``."""
        return _using().list_tools(self)

    async def amcp_tools(self) -> Any:
        """Async version of ``mcp_tools``."""
        return await _using().alist_tools(self)
