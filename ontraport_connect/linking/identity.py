"""Whose Ontraport account a new grant opens: asked of the MCP server's ``get_account_info``."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync

from ontraport_connect import protocol, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError

logger = logging.getLogger("ontraport_connect")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """An Ontraport account: its number and its name, each empty when it is not known."""

    ontraport_id: str = ""
    name: str = ""


class _BearerAuth(protocol.HttpxAuthBase):  # type: ignore[misc]  # its bases are what is installed
    def __init__(self, access_token: Secret) -> None:
        self._access_token = access_token

    async def async_auth_flow(self, request: Any) -> AsyncIterator[Any]:
        request.headers["Authorization"] = f"Bearer {self._access_token.reveal()}"
        yield request


def identify(access_token: Secret) -> Identity:
    """Return whose account the token opens; nothing is known without the extra ``mcp``, or when the MCP server does not answer."""
    if not protocol.is_mcp_installed():
        return Identity()
    try:
        info = protocol.tool_value(
            async_to_sync(protocol.run_mcp)(
                conf.ONTRAPORT_MCP_URL,
                _BearerAuth(access_token),
                conf.ONTRAPORT_TIMEOUT,
                lambda client: protocol.call_mcp_tool(client, "get_account_info", {}),
                refreshing.route(),
            )
        )
    except OntraportError as error:
        logger.warning("Ontraport did not tell whose account was linked: %s", error.code)
        return Identity()
    return read_identity(info)


def read_identity(info: Any) -> Identity:
    """Read the answer of ``get_account_info``; its exact schema is not public, so that only plausible values are taken."""
    members = info if isinstance(info, dict) else {}
    number = next((members[key] for key in ("account_id", "account_number", "id") if key in members), "")
    name = members.get("name", "")
    return Identity(
        ontraport_id=number_of(number),
        name=name[:100] if isinstance(name, str) and name.isprintable() else "",
    )


def number_of(value: object) -> str:
    """Return the number of an Ontraport account as text, empty when ``value`` is none: it came over the network."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    text = str(value) if isinstance(value, str) or 0 < value < 10**40 else ""
    return text if re.fullmatch(r"[0-9A-Za-z_-]{1,40}", text, re.ASCII) else ""
