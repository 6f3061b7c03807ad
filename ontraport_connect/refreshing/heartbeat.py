"""When beat and workers were last seen, left in the database for whoever is woken at night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, Value

from ontraport_connect.database import alias
from ontraport_connect.models import Now, OntraportService

from . import circuit_breaker

RESOLUTION = timedelta(seconds=10)

SILENCE = 300.0
"""Seconds without a sign of life after which beat or the workers are taken to be down: five rounds of the beat schedule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """When something was last seen, and how many seconds ago by the clock of the database."""

    seen_at: datetime | None
    age: float

    @property
    def is_alive(self) -> bool:
        return self.age <= SILENCE


def record_beat() -> None:
    _seen("beat_at")


def record_worker() -> None:
    _seen("worker_at")


def pulses() -> Mapping[str, Pulse]:
    """Return the pulse of ``beat`` and of the ``worker``."""
    circuit_breaker.site_standing()
    row = OntraportService.objects.using(alias()).annotate(now=Now()).get(pk=1)
    return {name: _pulse(seen_at, row.now) for name, seen_at in (("beat", row.beat_at), ("worker", row.worker_at))}


def _pulse(seen_at: datetime | None, now: datetime) -> Pulse:
    return Pulse(seen_at=seen_at, age=float("inf") if seen_at is None else (now - seen_at).total_seconds())


def _seen(name: str) -> None:
    """Write the time, unless that was done a moment ago: a hundred workers must not queue for one row."""
    circuit_breaker.site_standing()
    stale = Q(**{name: None}) | Q(**{f"{name}__lt": Now() - Value(RESOLUTION)})
    OntraportService.objects.using(alias()).filter(stale, pk=1).update(**{name: Now()})
