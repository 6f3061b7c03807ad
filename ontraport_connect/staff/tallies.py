"""How many background refreshes succeeded and failed in each of the last hours: what the dashboard draws.

It is one row of ``OntraportBudget``, written once a batch. A batch that loses the race for it three times, or finds it held,
is not counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ontraport_connect.database import unless_locked
from ontraport_connect.using import DatabaseStore

KEY = "refreshes"
HOURS = 24
HOUR = 3_600
ATTEMPTS = 3
WELL = frozenset({"refreshed", "recovered"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """The refreshes of one hour. ``starts_at`` is in seconds since the epoch, by the clock of the database."""

    starts_at: int
    refreshed: int = 0
    failed: int = 0


def count_refreshes(outcomes: Mapping[str, int]) -> None:
    """Add the ``outcomes`` of a batch, by code, to the current hour, unless somebody else holds the row."""
    if outcomes:
        unless_locked(lambda: _count(outcomes))


def _count(outcomes: Mapping[str, int]) -> None:
    refreshed = sum(count for code, count in outcomes.items() if code in WELL)
    failed = sum(outcomes.values()) - refreshed
    for _ in range(ATTEMPTS):
        held = DatabaseStore().load(KEY)
        hour = held.now // 1000 // HOUR
        hours = {int(name): counts for name, counts in json.loads(held.state or "{}").items()}
        before = hours.get(hour, (0, 0))
        hours[hour] = (before[0] + refreshed, before[1] + failed)
        kept = {name: counts for name, counts in hours.items() if hour - HOURS < name <= hour}
        if DatabaseStore().replace(KEY, held, json.dumps(kept)):
            return


def last_hours() -> list[Tally]:
    """Return the last 24 hours, the current one last. Empty when nothing was refreshed in them."""
    held = DatabaseStore().load(KEY)
    hour = held.now // 1000 // HOUR
    hours = {int(name): counts for name, counts in json.loads(held.state or "{}").items()}
    found = [name for name in range(hour - HOURS + 1, hour + 1) if name in hours]
    if not found:
        return []
    return [_tally(name, *hours.get(name, (0, 0))) for name in range(hour - HOURS + 1, hour + 1)]


def _tally(hour: int, refreshed: int, failed: int) -> Tally:
    return Tally(starts_at=hour * HOUR, refreshed=refreshed, failed=failed)
