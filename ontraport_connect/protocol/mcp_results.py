"""What the tool of an MCP server gave, or what its error means (extra ``mcp``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable

from .failures import excerpt, unavailable
from .mcp_sdk import sdk


def parsed(kind: Any, result: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return these members of a result as the SDK's type. What another version of the protocol adds is left out."""
    try:
        found = kind.model_validate({name: result[name] for name in names if name in result}, by_name=False)
    except sdk("pydantic").ValidationError:
        found = None
    del result  # it may repeat secrets, and would be in the frame of the error
    if found is None:
        raise unavailable("nonsense")
    return found


def tool_value(result: Any, secrets: Iterable[Secret] = ()) -> Any:
    """Return the structured content of a result, or else its text, parsed when it is JSON.

    Raises ``OntraportRejected`` (with ``said``, which repeats none of ``secrets``) when the tool reported an error, and
    ``OntraportUnavailable`` when Ontraport failed behind it.
    """
    value = _value(result, list(secrets))
    del result  # it may repeat secrets, and would be in the frame of the error
    if isinstance(value, OntraportError):
        raise value
    return value


def _value(result: Any, secrets: Iterable[Secret]) -> Any:
    text = _text_of(result)
    if result.is_error:
        return _tool_error(text, _status_of(text), secrets)
    if result.structured_content is not None:
        return result.structured_content
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def status_of(result: Any) -> int | None:
    """Return the HTTP status of Ontraport's REST API that a result hands on as the error of the tool, or ``None``."""
    return _status_of(_text_of(result)) if getattr(result, "is_error", False) else None


def _text_of(result: Any) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


def _status_of(text: str) -> int | None:
    """Read ``{"code": 422, …}``, as Ontraport's published server writes it."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return None
    code = members.get("code") if isinstance(members, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _tool_error(text: str, status: int | None, secrets: Iterable[Secret]) -> OntraportError:
    if (
        status is not None and status >= 500 and status != 501
    ):  # to ask for what is not there again is in vain (RFC 9110, 15.6.2)
        return OntraportUnavailable(f"Ontraport answered the tool with status {status}.", code=f"http_{status}")
    error = OntraportRejected(
        "The tool reported an error.", code="tool_error" if status is None else f"http_{status}", status=status
    )
    error.said = excerpt(text, (each.reveal() for each in secrets))
    return error
