"""Delete old rows: events beyond ``ONTRAPORT_KEEP_EVENTS``, and those of the rate limiter for accounts that have stopped calling."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from ontraport_connect import refreshing, using
from ontraport_connect.conf import conf
from ontraport_connect.database import alias, row_lock
from ontraport_connect.models import OntraportEvent

LIMIT = 1000
"""The most rows of each kind that one call deletes, so that it is over soon. The next call goes on."""

SHARE = 1 / 60
"""Share of the calls that look for idle rows of the rate limiter: that reads its whole table, so it is done about once an hour."""


def delete_old_rows() -> None:
    """Delete old rows, a bounded number. In a copy of another installation's database nothing is deleted."""
    if not refreshing.is_own_database():
        return
    _delete_old_events()
    if random.random() < SHARE:  # noqa: S311  # when to tidy up, not a secret
        using.delete_idle_budgets(LIMIT)


def _delete_old_events() -> None:
    keep = conf.ONTRAPORT_KEEP_EVENTS
    if keep is None:
        return
    age = keep if isinstance(keep, timedelta) else timedelta(days=keep)
    events: Any = OntraportEvent._default_manager.using(alias())
    old = events.filter(at__lt=timezone.now() - age).order_by("at")
    if not old.exists():
        return
    with refreshing.left_if_locked("old events"), transaction.atomic(using=alias()):
        pks = list(old.select_for_update(**row_lock()).values_list("pk", flat=True)[:LIMIT])
        events.filter(pk__in=pks).delete()
