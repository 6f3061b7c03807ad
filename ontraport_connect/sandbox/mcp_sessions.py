"""Sessions of the MCP server, as the switches want them: none, offered, or required."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

from .messages import Refused, Request
from .switches import Switches

HEADER = "Mcp-Session-Id"


class Sessions:
    """Who opened which session, and when it was last used. ``clock`` is in seconds."""

    def __init__(self, switches: Switches, clock: Callable[[], float]) -> None:
        self._switches = switches
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, float]] = {}

    def begin(self, account_id: int) -> dict[str, str]:
        """Return the headers of a new session, or none."""
        if self._switches.settings.mcp_sessions == "none":
            return {}
        session = uuid.uuid4().hex
        with self._lock:
            self._open[session] = (account_id, self._clock())
        return {HEADER: session}

    def check(self, request: Request, account_id: int) -> None:
        """Raise ``Refused`` unless the request names an open session of its account, or needs none."""
        settings = self._switches.settings
        given = request.header(HEADER)
        if settings.mcp_sessions == "none" or (settings.mcp_sessions == "offered" and not given):
            return
        if not given:
            raise Refused(400, f"Bad Request: {HEADER} header is required")
        with self._lock:
            owner, used = self._open.get(given, (0, 0.0))
            if owner != account_id or self._clock() - used > settings.mcp_session_idle:
                self._open.pop(given, None) if owner == account_id else None
                raise Refused(settings.mcp_unknown_session, "Session not found")
            self._open[given] = (owner, self._clock())

    def end(self, request: Request) -> None:
        with self._lock:
            self._open.pop(request.header(HEADER), None)

    def clear(self) -> None:
        with self._lock:
            self._open.clear()
