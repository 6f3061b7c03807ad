"""The Celery tasks. Their arguments and results are ids and counts. Running one twice, or late, is harmless.

Messages do not expire: the database clock decides whether there is anything to do, while an expiry would be compared with the clock of the
worker's machine.

Each task writes its heartbeat after its work: one that fails gives no sign of life. A header of its message says
when it was due: workers that are behind are told from workers that stand still.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery import shared_task
from celery.signals import before_task_publish, worker_process_shutdown

from . import linking, refreshing, staff, using
from .conf import conf
from .database import autocommitting
from .schedule import INTERVAL

MAX_REVOCATIONS = 50
MAX_KEYS = 100
MAX_IDS = 20

NOTICES = 30.0
"""Seconds for e-mails (see ``staff.send_notices``)."""

DUE_AT = "ontraport_due_at"
"""The header with the time at which a task is due, in seconds since the epoch. A worker of another version may not know it."""


def due(at: float) -> dict[str, Any]:
    """Return the headers of a task that is due ``at`` a time by the clock of the database, in seconds since the epoch."""
    return {DUE_AT: at}


@shared_task(name="ontraport_connect.tasks.refresh_expiring_tokens", ignore_result=True)
@autocommitting()
def refresh_expiring_tokens() -> int:
    """Find the tokens that are due and enqueue them, oldest first, spread over the interval. Returns how many."""
    linking.forget_old_attempts()
    now = refreshing.database_time()
    deliver_revocations.apply_async(headers=due(now))
    check_keys.apply_async(headers=due(now))
    if conf.ONTRAPORT_NOTIFY or conf.ONTRAPORT_NOTIFY_CHANGES:
        send_notices.apply_async(headers=due(now))
    found = _enqueue_due(now) if refreshing.may_refresh() else 0
    refreshing.record_beat(_due_at(refresh_expiring_tokens))
    staff.delete_old_rows()  # last: whatever becomes of it, the tokens that are due have been enqueued
    return found


def _enqueue_due(now: float) -> int:
    rate = conf.ONTRAPORT_REFRESH_RATE
    size = max(1, min(refreshing.BATCH_SIZE, int(rate)))
    found = 0
    for pks in refreshing.due_batches(max(1, int(rate * INTERVAL)), size):
        signature, wait = refresh_accounts.s(pks), found / rate
        headers = due(now + wait)
        signature.apply_async(countdown=wait, headers=headers) if found else signature.apply_async(headers=headers)
        found += len(pks)
    return found


@before_task_publish.connect(sender=refresh_expiring_tokens.name)
def _say_when_due(headers: dict[str, Any], **kwargs: Any) -> None:
    """Let the message that beat sends say when it was due, by the clock of beat's machine: beat asks no database."""
    headers.setdefault(DUE_AT, time.time())


def _due_at(task: Any) -> float | None:
    """Return when the running ``task`` was due. A message that comes again, its worker being lost, says nothing of delay."""
    due_at = (task.request.headers or {}).get(DUE_AT)
    is_repeated = (task.request.delivery_info or {}).get("redelivered", False)
    return due_at if isinstance(due_at, float) and math.isfinite(due_at) and not is_repeated else None


@shared_task(
    name="ontraport_connect.tasks.refresh_accounts",
    acks_late=True,
    ignore_result=True,
    time_limit=600,
    soft_time_limit=300,
)
@autocommitting()
def refresh_accounts(pks: Sequence[int]) -> dict[str, int]:
    """Refresh those accounts of a batch that are still due. Returns the number of accounts per outcome."""
    outcomes = refreshing.refresh_batch(pks)
    refreshing.record_worker(_due_at(refresh_accounts))
    staff.count_refreshes(outcomes)
    unknown = linking.without_id(pks)
    if unknown:
        with suppress(learn_ids.OperationalError):  # without a broker, their next refresh leads here again
            learn_ids.apply_async((unknown[:MAX_IDS],), retry=False)
    return outcomes


@shared_task(name="ontraport_connect.tasks.deliver_revocations", ignore_result=True)
@autocommitting()
def deliver_revocations() -> int:
    """Revoke at Ontraport the grants of disconnected accounts that are still pending. Returns how many were revoked."""
    revoked = refreshing.deliver_revocations(MAX_REVOCATIONS)
    refreshing.record_worker(_due_at(deliver_revocations))
    return revoked


@shared_task(name="ontraport_connect.tasks.learn_ids", ignore_result=True)
@autocommitting()
def learn_ids(pks: Sequence[int]) -> int:
    """Learn which Ontraport accounts these belong to, which came without that knowledge. Returns how many are known now."""
    known = linking.learn_ids(pks)
    refreshing.record_worker(_due_at(learn_ids))
    return known


@shared_task(name="ontraport_connect.tasks.check_keys", ignore_result=True)
@autocommitting()
def check_keys() -> dict[str, int]:
    """Check the key pairs that have not been checked for a day. Returns the number of key pairs per outcome."""
    outcomes = linking.check_key_pairs(MAX_KEYS)
    refreshing.record_worker(_due_at(check_keys))
    return outcomes


@shared_task(name="ontraport_connect.tasks.send_notices", ignore_result=True, time_limit=90, soft_time_limit=60)
@autocommitting()
def send_notices() -> int:
    """E-mail people whose accounts need a reconnect, or were connected or disconnected. Returns how many messages were sent."""
    told = staff.send_notices(NOTICES)
    refreshing.record_worker(_due_at(send_notices))
    return told


@worker_process_shutdown.connect(dispatch_uid="ontraport_connect.end_sessions")
def end_sessions(**event: object) -> None:
    """End the MCP sessions of a worker's process that is about to be replaced: it calls none of what is registered with ``atexit``."""
    using.end_sessions()
