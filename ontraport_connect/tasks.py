"""The Celery tasks. Their arguments and results are ids and counts; run twice, or late, they change nothing but the time.

No message expires: whether there is anything to do is decided by the clock of the database, while an expiry would be compared with the
clock of whatever machine the worker runs on.
"""

from __future__ import annotations

from collections.abc import Sequence

from celery import shared_task

from . import linking, refreshing, staff
from .conf import conf
from .schedule import INTERVAL

MOST_REVOCATIONS = 50
MOST_KEYS = 100


@shared_task(name="ontraport_connect.tasks.refresh_expiring_tokens", ignore_result=True)
def refresh_expiring_tokens() -> int:
    """Find the tokens that are due and hand them to the workers, oldest first, spread over the interval. Returns how many."""
    refreshing.record_beat()
    linking.forget_used_states()
    deliver_revocations.delay()
    check_keys.delay()
    if conf.ONTRAPORT_NOTIFY:
        send_notices.delay()
    if not refreshing.may_refresh():
        return 0
    rate = conf.ONTRAPORT_REFRESH_RATE
    size = max(1, min(refreshing.BATCH_SIZE, int(rate)))
    found = 0
    for pks in refreshing.due_batches(max(1, int(rate * INTERVAL)), size):
        signature = refresh_accounts.s(pks)
        signature.apply_async(countdown=found / rate) if found else signature.apply_async()
        found += len(pks)
    return found


@shared_task(
    name="ontraport_connect.tasks.refresh_accounts",
    acks_late=True,
    ignore_result=True,
    time_limit=600,
    soft_time_limit=300,
)
def refresh_accounts(pks: Sequence[int]) -> dict[str, int]:
    """Refresh a batch of accounts, those that are due still, and return how often what came out."""
    refreshing.record_worker()
    return refreshing.refresh_batch(pks)


@shared_task(name="ontraport_connect.tasks.deliver_revocations", ignore_result=True)
def deliver_revocations() -> int:
    """Tell Ontraport of grants that were let go of while it was away. Returns how many it heard of."""
    refreshing.record_worker()
    return refreshing.deliver_revocations(MOST_REVOCATIONS)


@shared_task(name="ontraport_connect.tasks.check_keys", ignore_result=True)
def check_keys() -> dict[str, int]:
    """Find out whether Ontraport still accepts the key pairs that were not checked for a day. Returns how often what came out."""
    refreshing.record_worker()
    return linking.check_key_pairs(MOST_KEYS)


@shared_task(name="ontraport_connect.tasks.send_notices", ignore_result=True)
def send_notices() -> int:
    """Tell people by e-mail of links that need them. Returns how many were told."""
    refreshing.record_worker()
    return staff.send_due_notices()
