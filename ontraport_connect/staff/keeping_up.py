"""Whether refreshing keeps up: overdue accounts, and links that have ended"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Value

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import Now, OntraportAccount, Status

from .findings import Finding, Level, finding


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


def count_due() -> int:
    count: int = due_accounts().count()
    return count


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


def numbers(thresholds: Thresholds) -> Mapping[str, float | None]:
    """Return what the findings tell, as numbers for machines. Seconds are ``None`` for what was never seen."""
    behind, signs = backlog(thresholds.overdue), refreshing.signs()
    return {
        "overdue": behind.count,
        "overdue_threshold_seconds": thresholds.overdue.total_seconds(),
        "oldest_overdue_seconds": round(behind.oldest.total_seconds(), 1),
        "needs_reconnect": count_needs_reconnect(),
        "beat_age_seconds": rounded(signs.beat.age),
        "worker_age_seconds": rounded(signs.worker.age),
        "command_age_seconds": rounded(signs.command.age),
        "task_delay_seconds": signs.task_delay,
    }


def rounded(seconds: float) -> float | None:
    """Return seconds as JSON has them, which knows no infinity."""
    return None if seconds == float("inf") else round(seconds, 1)


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
