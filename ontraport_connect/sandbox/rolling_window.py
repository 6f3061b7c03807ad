"""180 requests in a rolling minute for each Ontraport account, REST and MCP together."""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from .switches import Switches


@dataclass(frozen=True, kw_only=True)
class Allowance:
    allowed: bool
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-Rate-Limit-Limit": str(self.limit),
            "X-Rate-Limit-Remaining": str(self.remaining),
            "X-Rate-Limit-Reset": str(self.reset),
        }


class RollingWindow:
    """``clock`` is in seconds."""

    def __init__(self, switches: Switches, clock: Callable[[], float]) -> None:
        self._switches = switches
        self._clock = clock
        self._lock = threading.Lock()
        self._requests: defaultdict[int, deque[float]] = defaultdict(deque)

    def take(self, account_id: int) -> Allowance:
        """Let one request in if the account has any left. A refused request does not count."""
        limit, window = self._switches.settings.rate_limit, self._switches.settings.rate_window
        with self._lock:
            now = self._clock()
            requests = self._requests[account_id]
            while requests and requests[0] <= now - window:
                requests.popleft()
            allowed = len(requests) < limit
            if allowed:
                requests.append(now)
            oldest = requests[0] if requests else now
            remaining = max(0, limit - len(requests))
        if not allowed:
            self._switches.count("rate_limited")
        reset = max(1, math.ceil(oldest + window - now))
        return Allowance(allowed=allowed, limit=limit, remaining=remaining, reset=reset)

    def clear(self) -> None:
        with self._lock:
            self._requests.clear()
