"""When beat, workers and the command line last did their work, and how late: left in the database for whoever is woken at night.

Where somebody else holds the row, the time is not written: a sign of life is not worth the life of a worker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, Subquery, Value

from ontraport_connect.database import alias, unless_locked
from ontraport_connect.models import Now, OntraportBudget, OntraportService, aware

from . import circuit_breaker

RESOLUTION = timedelta(seconds=10)

SILENCE = 300.0
"""Seconds without a sign of life after which beat or the workers are taken to be down: five rounds of the beat schedule."""

LATE = 300.0
"""Seconds after which a task that ran is said to have run late: half of the time that a token is refreshed before it ends."""

WORST_OF = 60.0
"""Seconds for which the latest of several tasks stands for all: of several queues, one may be long and another empty."""

COMMAND, QUEUE = "heartbeat:command", "heartbeat:queue"
"""Rows of ``OntraportBudget`` with a time in seconds since the epoch (``at``), and by how many seconds a task ran late (``late``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """When something was last seen, and how many seconds ago by the clock of the database."""

    seen_at: datetime | None
    age: float

    @property
    def is_alive(self) -> bool:
        return self.age <= SILENCE


NEVER = Pulse(seen_at=None, age=float("inf"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """The signs of life of ``beat``, of the workers, and of ``refresh --all`` on the ``command`` line, which does the work of both.

    ``task_delay`` is by how many seconds the workers ran a task late in the last minutes; ``None``: none that says when it was due.
    """

    beat: Pulse = NEVER
    worker: Pulse = NEVER
    command: Pulse = NEVER
    task_delay: float | None = None

    @property
    def is_late(self) -> bool:
        return self.task_delay is not None and self.task_delay > LATE


def record_beat(due_at: float | None = None) -> None:
    """Note that a worker has run the task that beat sends, and how late where it says when it was due (seconds since the epoch)."""
    _ran("beat_at", due_at)


def record_worker(due_at: float | None = None) -> None:
    """Note that a worker has run another task, and how late where it says when it was due (seconds since the epoch)."""
    _ran("worker_at", due_at)


def _ran(name: str, due_at: float | None) -> None:
    row = _seen(name)
    if due_at is None:
        return
    now, before = _seconds(row.now), _read(row.queue)
    late = max(0.0, now - due_at)
    if not before or now - before["at"] > WORST_OF or late > before["late"] + RESOLUTION.total_seconds():
        _write(QUEUE, at=now, late=round(late, 1))


def record_command() -> None:
    """Note that a person or cron has done the work of beat and workers."""
    _write(COMMAND, at=database_time())


def database_time() -> float:
    """Return the time by the clock of the database, in seconds since the epoch."""
    return _seconds(_row().now)


def standing_and_signs() -> tuple[OntraportService | None, Signs]:
    """Return the site's row, if there is one yet, and the signs of life. One query, which writes nothing."""
    row = _rows().filter(pk=1).first()
    if row is None:
        return None, Signs()
    now, queue = _seconds(row.now), _read(row.queue)
    return row, Signs(
        beat=_pulse(row.beat_at, row.now),
        worker=_pulse(row.worker_at, row.now),
        command=_pulse_of(_read(row.command), row.now),
        task_delay=queue["late"] if queue and now - queue["at"] <= SILENCE else None,
    )


def signs() -> Signs:
    return standing_and_signs()[1]


def _pulse(seen_at: datetime | None, now: datetime) -> Pulse:
    return NEVER if seen_at is None else Pulse(seen_at=seen_at, age=(now - seen_at).total_seconds())


def _pulse_of(note: dict[str, float], now: datetime) -> Pulse:
    return _pulse(now - timedelta(seconds=_seconds(now) - note["at"]), now) if note else NEVER


def _rows() -> Any:
    notes = {
        name: Subquery(OntraportBudget.objects.using(alias()).filter(pk=key).values("state")[:1])
        for name, key in (("command", COMMAND), ("queue", QUEUE))
    }
    return OntraportService.objects.using(alias()).annotate(now=Now(), **notes)


def _row() -> Any:
    """Return the row; there is one, made when first needed."""
    return _rows().filter(pk=1).first() or _rows().get(pk=circuit_breaker.site_standing().pk)


def _seen(name: str) -> Any:
    """Write the time, unless that was done a moment ago: a hundred workers must not queue for one row. Returns the row as it was."""
    row = _row()
    seen_at = getattr(row, name)
    if seen_at is None or row.now - seen_at > RESOLUTION:
        stale = Q(**{name: None}) | Q(**{f"{name}__lt": Now() - Value(RESOLUTION)})
        rows = OntraportService.objects.using(alias()).filter(stale, pk=1)
        unless_locked(lambda: rows.update(**{name: Now()}))
    return row


def _seconds(now: datetime) -> float:
    return aware(now).timestamp()


def _read(state: str | None) -> dict[str, float]:
    note: dict[str, float] = json.loads(state or "{}")
    return note


def _write(key: str, **note: float) -> None:
    """Write a note. Of two writers at once, either is as good."""
    rows, state = OntraportBudget.objects.using(alias()), json.dumps(note)
    if unless_locked(lambda: rows.filter(pk=key).update(state=state)) == 0:
        rows.bulk_create([OntraportBudget(key=key, state=state)], ignore_conflicts=True)
