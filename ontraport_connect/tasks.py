"""The Celery tasks. Their arguments and results are ids and counts; run twice, or late, they change nothing but the time."""

from __future__ import annotations

from collections.abc import Sequence

from celery import shared_task

from . import batches, heartbeat, revoking, service, state
from .conf import conf
from .exceptions import OntraportError
from .schedule import INTERVAL

MOST_REVOCATIONS = 50


@shared_task(name="ontraport_connect.tasks.refresh_expiring_tokens", ignore_result=True)
def refresh_expiring_tokens() -> int:
    """Find the tokens that are due and hand them to the workers, oldest first, spread over the interval. Returns how many."""
    heartbeat.beat()
    state.forget_used()
    deliver_revocations.apply_async(expires=INTERVAL)
    try:
        service.enter()
    except OntraportError:
        return 0
    found = 0
    rate = conf.ONTRAPORT_REFRESH_RATE
    for pks in batches.due_batches(int(rate * INTERVAL)):
        refresh_accounts.apply_async(args=[pks], countdown=found / rate, expires=found / rate + INTERVAL)
        found += len(pks)
    return found


@shared_task(name="ontraport_connect.tasks.refresh_accounts", acks_late=True, ignore_result=True)
def refresh_accounts(pks: Sequence[int]) -> dict[str, int]:
    """Refresh a batch of accounts, those that are due still, and return how often what came out."""
    heartbeat.worker()
    return batches.refresh_batch(pks)


@shared_task(name="ontraport_connect.tasks.deliver_revocations", ignore_result=True)
def deliver_revocations() -> int:
    """Tell Ontraport of grants that were let go of while it was away. Returns how many it heard of."""
    heartbeat.worker()
    return revoking.deliver_due(MOST_REVOCATIONS)
