"""Find out which Ontraport account a new grant belongs to, with the MCP tool ``get_account_info``, or a key pair, with a REST call."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from ontraport_connect import protocol, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.models import is_visible
from ontraport_connect.monitoring import logger

CHEAP_CALL = "objects/getInfo?objectID=0"
"""A REST call that costs Ontraport little, and whose answer names the account: it verifies a key pair."""

CHECK_AFTER = 86_400.0
"""Seconds between two checks of a key pair."""


def next_check() -> float:
    """Return the seconds until the next check of a key pair, with jitter so that pairs linked together are not checked together."""
    return CHECK_AFTER * random.uniform(0.9, 1)  # noqa: S311  # jitter


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The id and the name of an Ontraport account. Either is empty when unknown."""

    ontraport_id: str = ""
    name: str = ""


def identify(access_token: Secret) -> Identity:
    """Return the account that the access token belongs to.

    Returns an empty ``Identity`` when the extra ``mcp`` is not installed or the MCP server fails. Raises nothing.
    """
    if not protocol.is_mcp_installed():
        return Identity()
    authorization = {"Authorization": Secret(lambda: f"Bearer {access_token.reveal()}")}
    try:
        result = protocol.ask_once(
            conf.ONTRAPORT_MCP_URL,
            authorization,
            "get_account_info",
            deadlines=conf.ONTRAPORT_TIMEOUT,
            route=refreshing.route(),
        )
        info = protocol.tool_value(result)
    except (OntraportError, AttributeError, TypeError, ValueError) as error:  # the setting may hold anything
        code = error.code if isinstance(error, OntraportError) else type(error).__name__
        logger.warning("Ontraport did not tell whose account was linked: %s", code)
        return Identity()
    return read_identity(info)


def read_identity(info: Any) -> Identity:
    """Read the result of ``get_account_info``. Its schema is not public, so implausible values are ignored."""
    members = info if isinstance(info, dict) else {}
    number = next((members[key] for key in ("account_id", "account_number", "id") if key in members), "")
    name = members.get("name", "")
    return Identity(
        ontraport_id=account_id_of(number),
        name=name[:100] if isinstance(name, str) and name.isprintable() and is_visible(name[:100]) else "",
    )


def account_id_of(value: object) -> str:
    """Return ``value`` as the id of an Ontraport account, or an empty string when it is not a valid one. The value is untrusted input."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    text = str(value) if isinstance(value, str) or 0 < value < 10**40 else ""
    return text if re.fullmatch(r"[0-9A-Za-z_-]{1,40}", text, re.ASCII) else ""
