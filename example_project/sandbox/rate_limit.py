"""180 requests in a rolling minute for each Ontraport account, REST and MCP together."""

import math
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass

from example_project.sandbox.state import controls


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
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: defaultdict[int, deque[float]] = defaultdict(deque)

    def take(self, account_id: int) -> Allowance:
        """Let one request in if the account has any left. A refused request does not count."""
        limit, window = controls.settings.rate_limit, controls.settings.rate_window
        with self._lock:
            now = time.monotonic()
            requests = self._requests[account_id]
            while requests and requests[0] <= now - window:
                requests.popleft()
            allowed = len(requests) < limit
            if allowed:
                requests.append(now)
            oldest = requests[0] if requests else now
            remaining = max(0, limit - len(requests))
        if not allowed:
            controls.count("rate_limited")
        reset = max(1, math.ceil(oldest + window - now))
        return Allowance(allowed=allowed, limit=limit, remaining=remaining, reset=reset)

    def clear(self) -> None:
        with self._lock:
            self._requests.clear()


rate_limit = RollingWindow()
