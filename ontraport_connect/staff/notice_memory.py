"""What is remembered between two rounds of notices: who is tried again when, and since when everybody has been held back.

It is one row of ``OntraportBudget``, replaced only when nobody else has replaced it meanwhile. Losing it costs a few early retries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from ontraport_connect.models import as_stored
from ontraport_connect.using import DatabaseStore

KEY = "notices"

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0
"""Seconds between two attempts: doubled with each failure, from the first to the longest."""

LONGEST_ROUND = 120.0
"""Seconds after which a round that never ended no longer keeps others from starting."""

LONGEST_HOLD = 30 * 24 * 3600.0
"""Seconds by which a hold can extend the time in which people are told."""

MAX_RETRIES = 1000
"""The most people for whom failures are remembered; the rest are tried again at once."""


def pause_after(failures: int) -> float:
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)


@dataclass(kw_only=True, slots=True)
class NoticeMemory:
    """Times are seconds since the epoch by the clock of the database."""

    held: Any
    now: float
    next_round: float = 0.0
    failed_rounds: int = 0
    held_since: float = 0.0
    held_until: float = 0.0
    retries: dict[str, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Self:
        held = DatabaseStore().load(KEY)
        values = json.loads(held.state or "{}")
        return cls(held=held, now=held.now / 1000, **values)

    def save(self) -> bool:
        """Returns False when another process has saved since this was read."""
        names = ("next_round", "failed_rounds", "held_since", "held_until", "retries")
        return DatabaseStore().replace(KEY, self.held, json.dumps({name: getattr(self, name) for name in names}))

    @property
    def is_paused(self) -> bool:
        """Whether a round is under way elsewhere, or the mail server is left alone for a while."""
        return self.next_round > self.now

    def waiting(self) -> list[str]:
        """Return the uids of the accounts that are not to be tried yet."""
        return [uid for uid, (_failures, at) in self.retries.items() if at > self.now]

    def ready(self) -> list[str]:
        """Return the uids of the accounts that failed before and may be tried again, those with the fewest failures first."""
        waiting = set(self.waiting())
        return [uid for uid, _failures in sorted(self.retries.items(), key=lambda item: item[1]) if uid not in waiting]

    def put_off(self, uid: UUID) -> None:
        """Try ``uid`` again after a pause that grows with each failure."""
        failures, _at = self.retries.pop(str(uid), (0, 0.0))
        if len(self.retries) < MAX_RETRIES:
            self.retries[str(uid)] = (failures + 1, self.now + pause_after(failures + 1))

    def keep_only(self, uids: Iterable[UUID]) -> None:
        """Forget the failures of all but these accounts."""
        self.retries = {str(uid): self.retries[str(uid)] for uid in uids}

    def hold(self, window: timedelta) -> None:
        """Remember that people who should be told now are not, for a cause that is not theirs.

        A hold within ``window`` of the last one continues it.
        """
        if self.held_until < self.now - window.total_seconds():
            self.held_since = self.now
        self.held_until = self.now

    def oldest(self, window: timedelta) -> datetime:
        """Return the time since which a link must have ended for its person to be told: ``window`` ago, plus the hold."""
        seconds = window.total_seconds()
        is_extended = self.held_until >= self.now - seconds
        start = max(self.held_since, self.now - LONGEST_HOLD) if is_extended else self.now
        return as_stored(datetime.fromtimestamp(start - seconds, UTC))
