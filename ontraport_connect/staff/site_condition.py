"""The site's health for monitoring: what is wrong now, in a few queries whatever the number of accounts, and the gauges"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError
from django.db.models import Count, Max, Q
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import Method, OntraportAccount, OntraportRevocation, Status
from ontraport_connect.monitoring import Gauge

from .background_jobs import silent
from .findings import Level
from .keeping_up import DEFAULTS, count_due, oldest_due, rounded


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """``problems`` need the operator now; ``warnings`` may pass by themselves. Both are stable codes. ``numbers`` are seconds."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    numbers: Mapping[str, float | None]

    @property
    def is_well(self) -> bool:
        return not self.problems


def condition() -> Condition:
    """Look at the database: four queries. Raises nothing: a database that is away, or lacks our tables, is the problem ``database``."""
    try:
        return _condition()
    except (DatabaseError, InterfaceError):
        return Condition(problems=("database",), numbers={})


def _condition() -> Condition:
    row, signs = refreshing.standing_and_signs()
    problems, warnings = [], []
    if not refreshing.is_own_database():
        problems.append("copied_database")
    if row is not None and row.hold_code == refreshing.RATE_LIMITED:
        warnings.append("rate_limited")
    elif row is not None and row.hold_code:
        problems.append("site_refused")
    for name, level in silent(signs).items():
        {Level.ERROR: problems, Level.WARNING: warnings}.get(level, []).append(f"{name}_silent")
    if signs.is_late:
        warnings.append("tasks_late")
    oldest = oldest_due()
    if oldest > DEFAULTS.long_overdue:
        problems.append("overdue")
    elif oldest > DEFAULTS.overdue:
        warnings.append("overdue")
    return Condition(
        problems=tuple(problems),
        warnings=tuple(warnings),
        numbers={
            "beat_age": rounded(signs.beat.age),
            "worker_age": rounded(signs.worker.age),
            "command_age": rounded(signs.command.age),
            "task_delay": signs.task_delay,
            "oldest_overdue": round(oldest.total_seconds(), 1),
        },
    )


def gauges() -> Iterator[Gauge]:
    """Yield what the database knows, as metrics: five queries, of which one groups all accounts and one counts those that are due."""
    row, signs = refreshing.standing_and_signs()
    code = "" if row is None else row.hold_code
    is_refused = bool(code) and code != refreshing.RATE_LIMITED
    kinds = OntraportAccount.objects.using(alias()).order_by().values_list("method", "status")
    failures = Count("pk", filter=Q(failures__gt=0))
    rows = list(kinds.annotate(n=Count("pk"), failing=failures, latest=Max("refreshed_at")))
    yield Gauge(
        name="ontraport_connect_accounts",
        help="Linked accounts, by method (oauth, api_key) and state (connected, needs_reconnect).",
        labels=("method", "state"),
        samples={(method, status): number for method, status, number, _, _ in rows},
    )
    failing = sum(failing for _, status, _, failing, _ in rows if status == Status.CONNECTED)
    yield _single("failing", "Connected accounts whose last refresh failed; it is tried again.", failing)
    latest = [latest for method, _, _, _, latest in rows if method == Method.OAUTH and latest is not None]
    age = (timezone.now() - max(latest)).total_seconds() if latest else float("inf")
    yield _single("last_refresh_age_seconds", "Time since a token was refreshed; +Inf: never.", max(0.0, age))
    yield _single("due", "Accounts that should have been refreshed by now.", count_due())
    yield _single("oldest_due_seconds", "For how long the oldest of them is due.", oldest_due().total_seconds())
    yield _single("site_refused", "1: refreshing is paused until the operator acts.", is_refused)
    yield _single("rate_limited", "1: refreshing is paused, as Ontraport has asked.", code == refreshing.RATE_LIMITED)
    yield _single(
        "pending_revocations",
        "Grants of disconnected accounts that Ontraport has still to be told about.",
        OntraportRevocation.objects.using(alias()).count(),
    )
    yield Gauge(
        name="ontraport_connect_heartbeat_age_seconds",
        help="Time since beat, a worker and refresh --all (command) were last seen; +Inf: never.",
        labels=("process",),
        samples={("beat",): signs.beat.age, ("worker",): signs.worker.age, ("command",): signs.command.age},
    )
    yield Gauge(
        name="ontraport_connect_task_delay_seconds",
        help="By how much the workers ran a task late in the last minutes; absent: they ran none.",
        samples={} if signs.task_delay is None else {(): signs.task_delay},
    )


def _single(name: str, text: str, value: float) -> Gauge:
    return Gauge(name=f"ontraport_connect_{name}", help=text, samples={(): float(value)})
