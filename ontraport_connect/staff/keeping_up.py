"""Whether refreshing keeps up: heartbeat, beat entry, overdue accounts, and links that have ended"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Value

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import Method, Now, OntraportAccount, Status

from .findings import Finding, Level, finding

TASK = "ontraport_connect.tasks.refresh_expiring_tokens"


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """An account may be due for ``overdue`` before it is worth a warning; when the oldest is due for longer than ``long_overdue``, it is an
    error. More than ``needs_reconnect`` links that have ended are a warning (``None``: any number is fine).
    """

    overdue: timedelta = timedelta(minutes=10)
    long_overdue: timedelta = timedelta(hours=1)
    needs_reconnect: int | None = None


DEFAULTS = Thresholds()


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """How many accounts are due for longer than a threshold, and for how long the oldest is due at all."""

    count: int
    oldest: timedelta


def due_accounts() -> Any:
    """Return the accounts that should have been refreshed by now. Those of people who were deactivated are not refreshed."""
    return OntraportAccount.objects.using(alias()).due().usable()


def oldest_due() -> timedelta:
    """Return for how long the oldest account is due, by the clock of the database. One row of an index is read."""
    oldest: Any = due_accounts().annotate(now=Now()).order_by("refresh_at").values("refresh_at", "now").first()
    return timedelta(0) if oldest is None else oldest["now"] - oldest["refresh_at"]


def backlog(threshold: timedelta) -> Backlog:
    count = due_accounts().filter(refresh_at__lt=Now() - Value(threshold)).count()
    return Backlog(count=count, oldest=oldest_due())


def count_needs_reconnect() -> int:
    count: int = OntraportAccount.objects.using(alias()).filter(status=Status.NEEDS_RECONNECT).count()
    return count


def has_tokens() -> bool:
    """Tell whether there is any token to refresh."""
    return bool(OntraportAccount.objects.using(alias()).filter(method=Method.OAUTH).exists())


def numbers(thresholds: Thresholds) -> Mapping[str, float]:
    """Return what the findings below tell, as numbers for machines."""
    behind = backlog(thresholds.overdue)
    return {
        "overdue": behind.count,
        "overdue_threshold_seconds": thresholds.overdue.total_seconds(),
        "oldest_overdue_seconds": round(behind.oldest.total_seconds(), 1),
        "needs_reconnect": count_needs_reconnect(),
    }


def check_heartbeat() -> Iterator[Finding]:
    """Report when beat and workers were last seen. Their absence is an error once there is a token to refresh."""
    needed = has_tokens()
    for name, pulse in refreshing.pulses().items():
        if pulse.is_alive:
            yield finding("heartbeat", Level.OK, f"{name}: seen {pulse.age:.0f} s ago")
            continue
        seen = f"last seen {pulse.seen_at:%Y-%m-%d %H:%M} UTC" if pulse.seen_at else "never seen"
        yield finding(
            "heartbeat",
            Level.ERROR if needed else Level.WARNING,
            f"{name}: {seen}",
            "Start Celery's beat and worker with ontraport_connect.schedule.BEAT_SCHEDULE, or run"
            " `manage.py ontraport refresh --all` every minute from cron. If both are silent, check the workers and the broker first.",
        )


def check_schedule() -> Iterator[Finding]:
    """Report a missing beat entry, unless beat is alive all the same: its schedule may be in a database, or cron does its work."""
    if has_beat_entry():
        yield finding("schedule", Level.OK, "the settings have it")
    elif refreshing.pulses()["beat"].is_alive:
        yield finding("schedule", Level.OK, "not in the settings, and something does its work")
    else:
        yield finding(
            "schedule",
            Level.WARNING,
            f"no setting named ...BEAT_SCHEDULE has an entry for {TASK}",
            "Add ontraport_connect.schedule.BEAT_SCHEDULE to CELERY_BEAT_SCHEDULE; where the schedule is in a database, or cron runs"
            " `manage.py ontraport refresh --all`, this goes away with the first run.",
        )


def has_beat_entry() -> bool:
    """Tell whether a schedule in the settings runs the beat task. Celery's namespace in them may be any.

    A ``BEAT_SCHEDULE`` without one is what was imported from ``ontraport_connect.schedule``: Celery does not read it.
    """
    names = [
        name for name in dir(settings) if name.endswith(("BEAT_SCHEDULE", "beat_schedule")) and name != "BEAT_SCHEDULE"
    ]
    schedules = [getattr(settings, name) for name in names]
    entries = [entry for schedule in schedules if isinstance(schedule, Mapping) for entry in schedule.values()]
    return any(isinstance(entry, Mapping) and entry.get("task") == TASK for entry in entries)


def check_overdue(thresholds: Thresholds = DEFAULTS) -> Iterator[Finding]:
    """Report accounts that should have been refreshed a while ago: beat and workers may be alive and not keep up."""
    behind, limit = backlog(thresholds.overdue), _minutes(thresholds.overdue)
    if not behind.count:
        yield finding("overdue", Level.OK, f"no account is overdue by more than {limit}")
        return
    accounts = "1 account is" if behind.count == 1 else f"{behind.count} accounts are"
    yield finding(
        "overdue",
        Level.ERROR if behind.oldest > thresholds.long_overdue else Level.WARNING,
        f"{accounts} overdue by more than {limit}, the oldest by {_minutes(behind.oldest)}",
        "Check the workers' log and the length of their queue. If more is due than they are given, raise ONTRAPORT_REFRESH_RATE.",
    )


def check_needs_reconnect(thresholds: Thresholds = DEFAULTS) -> Iterator[Finding]:
    """Report how many links have ended, which only their owners can mend. Many at once are rarely the owners' doing."""
    count = count_needs_reconnect()
    text = "no link needs a reconnect" if not count else f"{count} {'needs' if count == 1 else 'need'} a reconnect"
    if thresholds.needs_reconnect is None or count <= thresholds.needs_reconnect:
        yield finding("reconnect", Level.OK, text)
        return
    yield finding(
        "reconnect",
        Level.WARNING,
        f"{text}, more than {thresholds.needs_reconnect}",
        "Their owners have to reconnect (ONTRAPORT_NOTIFY tells them). If many ended at once, look for a change of the client id or the"
        " endpoints, and see `manage.py ontraport refresh --reconsider`.",
    )


def _minutes(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes >= 120:
        return f"{minutes // 60} hours"
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
