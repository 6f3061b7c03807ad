"""Whether beat and workers, or the command line in their place, do their work; where they do not, what the workers and their queue say"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.refreshing import Pulse, Signs

from .findings import Finding, Level, finding

TASK = "ontraport_connect.tasks.refresh_expiring_tokens"

LATELY = 86_400.0
"""Seconds since beat or a worker was seen after which a site that lives by the command line is taken to have none any more."""

START = (
    "Start Celery's beat and worker with ontraport_connect.schedule.BEAT_SCHEDULE, or run `manage.py ontraport refresh --all` every minute"
    " from cron."
)
LONG_QUEUE = "Start more workers, or give this app's tasks a queue of their own (Celery's task_routes) and a worker that listens to it."


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueState:
    """What the broker and the workers say. ``answering`` counts workers that answer, ``able`` those of them that know this app's tasks;
    ``waiting`` counts the tasks in the queues of this app's tasks, whoever sent them.
    """

    is_broker_there: bool = True
    answering: int = 0
    able: int = 0
    waiting: int = 0


def nobody_to_ask() -> None:
    """Return nothing: the queue was not asked, or cannot be."""


def has_tokens() -> bool:
    """Tell whether there is any token to refresh."""
    return bool(OntraportAccount.objects.using(alias()).filter(method=Method.OAUTH).exists())


def silent(signs: Signs) -> Mapping[str, Level]:
    """Return which of ``beat`` and ``worker`` are silent, and how bad that is.

    Where ``refresh --all`` ran of late it is not bad at all; a warning, if what is silent now was seen within a day: somebody helps out.
    """
    pulses = {"beat": signs.beat, "worker": signs.worker}
    found = {name: pulse for name, pulse in pulses.items() if not pulse.is_alive}
    if not found:
        return {}
    if signs.command.is_alive:
        return {name: Level.WARNING if pulse.age < LATELY else Level.OK for name, pulse in found.items()}
    return dict.fromkeys(found, Level.ERROR if has_tokens() else Level.WARNING)


def check_heartbeat(look: Callable[[], QueueState | None] = nobody_to_ask) -> Iterator[Finding]:
    """Report when beat and workers were last seen, and how late. Their absence is an error once there is a token to refresh.

    ``look`` asks the workers and the broker; it is called when one of the two is silent and the command line does not stand in.
    """
    signs = refreshing.signs()
    levels = silent(signs)
    if levels and signs.command.is_alive:
        yield _done_by_command(signs, levels)
        return
    state = look() if levels else None
    queue = None if state is None else _queue_finding(state, signs, levels)
    hint = queue.hint if queue else f"{START} If both are silent, check the workers and the broker first."
    for name, pulse in (("beat", signs.beat), ("worker", signs.worker)):
        if name in levels:
            yield finding("heartbeat", levels[name], f"{name}: {_last_seen(pulse)}", hint)
        elif name == "worker" and signs.is_late:
            late = (
                f"{name}: seen {pulse.age:.0f} s ago, but runs this app's tasks {_minutes(signs.task_delay or 0)} late"
            )
            yield finding(
                "heartbeat",
                Level.WARNING,
                late,
                f"Its queue is long, or the clock of beat's machine is slow. {LONG_QUEUE}",
            )
        else:
            yield finding("heartbeat", Level.OK, f"{name}: seen {pulse.age:.0f} s ago")
    if queue:
        yield queue


def _done_by_command(signs: Signs, levels: Mapping[str, Level]) -> Finding:
    others = f"beat: {_last_seen(signs.beat)}; worker: {_last_seen(signs.worker)}"
    text = f"refreshed from the command line, {signs.command.age:.0f} s ago; {others}"
    if Level.WARNING not in levels.values():
        return finding("heartbeat", Level.OK, text)
    return finding("heartbeat", Level.WARNING, text, f"If cron has not taken over: {START}")


def _queue_finding(state: QueueState, signs: Signs, levels: Mapping[str, Level]) -> Finding:
    text, hint = _explain(state, signs.worker)
    return finding("heartbeat", max(levels.values(), key=list(Level).index), f"queue: {text}", hint)


def _explain(state: QueueState, worker: Pulse) -> tuple[str, str]:
    """Return what is wrong, and what to do.

    Beat sends a task a minute. Where fewer tasks wait than minutes have passed since a worker was seen, those of beat are not among them.
    """
    answer = "1 worker answers" if state.answering == 1 else f"{state.answering} workers answer"
    waiting = f"{state.waiting} {'task waits' if state.waiting == 1 else 'tasks wait'}"
    if not state.is_broker_there:
        return (
            "the broker does not answer",
            "Start the broker, or mend CELERY_BROKER_URL. Beat and workers find it again by themselves.",
        )
    if not state.answering:
        return f"no worker answers, {waiting}", START
    if not state.able:
        none = "it does not know" if state.answering == 1 else "none of them knows"
        return f"{answer}, but {none} this app's tasks", "Their Celery app must call app.autodiscover_tasks()."
    if not worker.is_alive and state.waiting >= max(1, 0 if worker.seen_at is None else worker.age // 60):
        has, its = ("has", "its") if state.answering == 1 else ("have", "their")
        got = "never got to this app's tasks"
        if worker.seen_at is not None:
            got = f"not got to this app's tasks for {_minutes(worker.age)}"
        return f"{answer}, but {has} {got}: {its} queue is full ({waiting})", LONG_QUEUE
    return (
        f"{answer}, {waiting}: beat sends none, or this app's tasks fail",
        f"{START} If beat runs, look for this app's tasks in the log of the workers.",
    )


def check_schedule() -> Iterator[Finding]:
    """Report a missing beat entry, unless its work is done all the same: its schedule may be in a database, or cron does its work."""
    signs = refreshing.signs()
    if has_beat_entry():
        yield finding("schedule", Level.OK, "the settings have it")
    elif signs.beat.is_alive:
        yield finding("schedule", Level.OK, "not in the settings, and something does its work")
    elif signs.command.is_alive:
        yield finding("schedule", Level.OK, "not in the settings, and the command line does its work")
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
    entries: list[Any] = [entry for each in schedules if isinstance(each, Mapping) for entry in each.values()]
    return any(isinstance(entry, Mapping) and entry.get("task") == TASK for entry in entries)


def _last_seen(pulse: Pulse) -> str:
    if pulse.is_alive:
        return f"seen {pulse.age:.0f} s ago"
    return f"last seen {pulse.seen_at:%Y-%m-%d %H:%M} UTC" if pulse.seen_at else "never seen"


def _minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f} minutes"
