"""Requests and replies as plain values, and the refusal that becomes a reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

FORM = "application/x-www-form-urlencoded"
NO_ANSWER = 0
"""The status of a reply that is never sent: the connection is cut instead."""


class Refused(Exception):
    """A request that is refused: an HTTP status, and the text that says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def not_here(what: str) -> Refused:
    """Return the refusal of what the stand-in does not do. Ontraport may do it: it is never answered wrongly instead."""
    return Refused(501, f"This is a stand-in for Ontraport, and it has no {what}.")


def from_json(text: bytes | str) -> Any:
    """Return what JSON says, with whole numbers as such, also where they are written with a point. Raises ``ValueError``."""
    try:
        return json.loads(text, parse_float=_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """An HTTP request. The names of the headers are in small letters."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "")

    @property
    def is_form(self) -> bool:
        return self.header("content-type").partition(";")[0].strip().lower() == FORM

    def form(self) -> dict[str, str]:
        """Return the fields of a form body. Raises ``Refused`` for one that is not text."""
        try:
            return dict(parse_qsl(self.body.decode(), keep_blank_values=True))
        except ValueError:
            raise Refused(400, "The body is not a form.") from None

    def parameters(self) -> dict[str, Any]:
        """Return what the query and the body say, in JSON or as a form. Raises ``Refused``."""
        if not self.body:
            return dict(self.query)
        if self.is_form:
            return {**self.query, **self.form()}
        try:
            document = from_json(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Refused(400, "The body is neither a JSON object nor a form.")
        return {**self.query, **document}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An HTTP response. ``stream`` is the number of seconds for which it is held open after the body."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: float = 0


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status=status, body=json.dumps(value, ensure_ascii=False).encode(), headers=headers or {})


def text_reply(text: str, status: int, content_type: str = "text/plain") -> Reply:
    return Reply(status=status, body=text.encode(), content_type=content_type)
