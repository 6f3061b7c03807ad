"""What the control page sets and counts, in the memory of the one process, so that all of its threads see a change at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

FAULT_TARGETS = ("token", "revoke", "mcp", "rest")
FAULT_KINDS = {
    "none": "As usual",
    "500": "500 Internal Server Error",
    "429": "429 Too Many Requests",
    "slow": "Slow: wait, then handle it",
    "late": "Late: handle it, then wait before answering",
    "lost": "Lost: handle it, then cut the connection without an answer",
    "hang": "Hang: wait, then 503, never handle it",
    "nonsense": "Nonsense: 200 and a page of HTML",
    "invalid_client": "invalid_client",
}
COUNTED = (
    "authorize",
    "register",
    "token:authorization_code",
    "token:refresh_token",
    "token:other",
    "revoke",
    "mcp",
    "rest",
    "reuse_detected",
    "rate_limited",
    "faults",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Lifetimes and waits are in seconds. What each switch is for is said in ``lessons``."""

    access_token_lifetime: int = 3600
    send_expires_in: bool = True
    refresh_token_lifetime: int = 0
    refresh_token_grace: float = 0
    one_grant_per_client: bool = True
    issuer: str = ""
    rate_limit: int = 180
    rate_window: float = 60
    contacts: int = 0
    mcp_sessions: str = "none"
    mcp_unknown_session: int = 404
    mcp_session_idle: float = 1800
    mcp_stream: float = 0
    mcp_versions: str = "all"
    mcp_results: str = "structured"
    mcp_errors_in_results: bool = False
    mcp_list_first: bool = False
    mcp_keys: str = "both"


CHOICES: Mapping[str, Mapping[str, str]] = {
    "mcp_sessions": {
        "none": "Gives none",
        "offered": "Gives one, and does without it",
        "required": "Gives one, and requires it",
    },
    "mcp_unknown_session": {"404": "404, as the specification says", "400": "400, as Ontraport's published server"},
    "mcp_versions": {"all": "All", "old": "2024-11-05 and 2025-03-26 only", "new": "2025-11-25 only"},
    "mcp_results": {"structured": "Structured content and text", "text": "Text only"},
    "mcp_keys": {"both": "Two headers or a bearer", "headers": "Two headers only", "bearer": "A bearer only"},
}
"""What a switch with words can be set to."""


@dataclass(kw_only=True)
class Fault:
    """A fault. It is applied to the next ``remaining`` requests; 0: to all until it is changed."""

    kind: str
    seconds: float = 5
    remaining: int = 0
    retry_after: str = ""


class Switches:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.settings = Settings()
            self._faults: dict[str, Fault] = {}
            self._counts = Counter(dict.fromkeys(COUNTED, 0))

    def change(self, changes: Mapping[str, Any]) -> None:
        with self._lock:
            self.settings = replace(self.settings, **changes)

    def count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def set_fault(self, target: str, fault: Fault) -> None:
        with self._lock:
            if target == "all":
                self._faults.clear()
            if fault.kind == "none":
                self._faults.pop(target, None)
            else:
                self._faults[target] = fault

    def take_fault(self, target: str) -> Fault | None:
        """Return the fault for this request, if any, and count it as used once."""
        with self._lock:
            key = target if target in self._faults else "all"
            fault = self._faults.get(key)
            if fault is None:
                return None
            self._counts["faults"] += 1
            if fault.remaining == 1:
                del self._faults[key]
            elif fault.remaining:
                fault.remaining -= 1
            return fault

    def snapshot(self) -> dict[str, Any]:
        with self._lock:
            return {
                **asdict(self.settings),
                "faults": {target: asdict(fault) for target, fault in self._faults.items()},
                "counts": dict(self._counts),
            }
