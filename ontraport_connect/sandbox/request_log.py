"""The last requests and what was answered, without any secret, so that a developer sees what an application sent."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from .messages import Refused, Reply, Request

LENGTH = 100
LONGEST = 600
MASK = "•••"
OPEN = frozenset({"grant_type", "client_id", "redirect_uri", "scope", "resource", "token_type_hint", "response_type"})
"""Parameters of OAuth that are shown. All others are masked, also those that we do not know."""

SECRET = re.compile(r"(?i)key|secret|token|password|payer|cc_?number|cvv|card_number|authorization")
"""Names of members that are masked wherever they stand."""


class RequestLog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, Any]] = deque(maxlen=LENGTH)

    def add(self, request: Request, reply: Reply, *, at: float) -> None:
        """Note a request and its reply, both masked. ``at`` is in Unix seconds."""
        is_oauth = request.path.startswith("/oauth/")
        entry = {
            "at": at,
            "method": request.method,
            "path": request.path,
            "credentials": _credentials(request),
            "sent": _shortened(_sent(request, is_oauth=is_oauth)),
            "status": reply.status,
            "answer": "" if is_oauth else _shortened(_answer(reply)),
        }
        with self._lock:
            self._entries.appendleft(entry)

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries, the newest first."""
        with self._lock:
            return list(self._entries)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()


def _credentials(request: Request) -> str:
    """Return what kind of credentials came, and none of them."""
    scheme, _, rest = request.header("authorization").partition(" ")
    if scheme:
        return f"{scheme[:10]} {'app id:key' if ':' in rest else 'token'}"
    return "Api-Appid, Api-Key" if request.header("api-key") else ""


def _sent(request: Request, *, is_oauth: bool) -> str:
    try:
        parameters = request.parameters()
    except Refused as refused:
        return refused.text
    if is_oauth:
        parameters = {name: value if name in OPEN else MASK for name, value in parameters.items()}
    return json.dumps(masked(parameters), ensure_ascii=False) if parameters else ""


def _answer(reply: Reply) -> str:
    try:
        return json.dumps(masked(json.loads(reply.body)), ensure_ascii=False)
    except ValueError:
        return reply.body.decode(errors="replace")


def masked(value: Any) -> Any:
    """Return a JSON value with its secrets masked."""
    if isinstance(value, Mapping):
        return {name: MASK if SECRET.search(str(name)) else masked(each) for name, each in value.items()}
    return [masked(each) for each in value] if isinstance(value, list) else value


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
