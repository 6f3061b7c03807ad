"""Whether this machine keeps a million hourly tokens fresh: 278 a second, by beat's own task and real workers.

An account that is due waits for beat (ten seconds between two runs) and in the queue. When a worker cannot keep up, the wait is longer in
the second half than in the first.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from celery import Celery
from django.test import override_settings

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount
from tests.benchmarks.site import Site, due_accounts, seconds_until_all_are_refreshed

RATE = 278
BEAT = 10.0
"""Seconds between two runs of beat's task here, so that two minutes hold many of them."""


def measure(site: Site, seconds: float) -> list[dict[str, Any]]:
    due_accounts("sustained-", int(RATE * seconds), spread=seconds)
    due: dict[int, Any] = dict(OntraportAccount.objects.order_by("refresh_at").values_list("pk", "refresh_at"))
    with site.worker("--pool", "prefork", "--concurrency", "2"), override_settings(ONTRAPORT_REFRESH_RATE=1000):
        app = Celery(broker=site.valkey.url, set_as_current=True)
        started = time.monotonic()
        while time.monotonic() - started < seconds + BEAT:
            tasks.refresh_expiring_tokens()
            time.sleep(BEAT)
        seconds_until_all_are_refreshed(started)
        app.close()
    refreshed: dict[int, Any] = dict(OntraportAccount.objects.values_list("pk", "refreshed_at"))
    lags = [(refreshed[pk] - moment).total_seconds() for pk, moment in due.items()]
    half = len(lags) // 2
    begin, end = min(due.values()), max(refreshed.values())
    return [
        {
            "due a second": RATE,
            "seconds": seconds,
            "refreshed": len(lags),
            "a second": round(len(lags) / (end - begin).total_seconds()),
            "median s after due": round(statistics.median(lags), 1),
            "worst, first half": round(max(lags[:half]), 1),
            "worst, second half": round(max(lags[half:]), 1),
        }
    ]
