"""JSON-RPC responses in the bodies of HTTP responses: JSON, or an event stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .answer import Answer, is_event_stream

BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def error_code(reply: Mapping[str, Any] | None) -> int | None:
    error = (reply or {}).get("error")
    code = error.get("code") if isinstance(error, dict) and (reply or {}).get("jsonrpc") == "2.0" else None
    return code if isinstance(code, int) else None


def reply_of(answer: Answer, message_id: object) -> dict[str, Any] | None:
    """Return the JSON-RPC response in a body: the whole of it, or in an event stream the one that answers ``message_id``."""
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    if is_event_stream(answer.headers):
        events = Events(message_id)
        events.feed(answer.body + b"\n\n")
        return events.reply
    return _object(answer.body)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = Answer(status=200, headers={}, body=text).json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class Events:
    """An event stream, read up to the response to one request. Notifications and questions of the server are passed over."""

    def __init__(self, message_id: object) -> None:
        self._id = message_id
        self._rest = bytearray()
        self.reply: dict[str, Any] | None = None

    def feed(self, chunk: bytes) -> bool:
        new = max(0, len(self._rest) - 3)  # what came before has been searched
        self._rest += chunk
        if not BLANK_LINE.search(self._rest, new):
            return self.reply is not None
        *events, rest = BLANK_LINE.split(bytes(self._rest))
        self._rest = bytearray(rest)
        for event in events:
            lines = re.split(rb"\r\n|\n|\r", event)
            data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
            message = _object(data) or {}
            if self.reply is None and message.keys() & {"result", "error"} and message.get("id") in {self._id, None}:
                self.reply = message
        return self.reply is not None
