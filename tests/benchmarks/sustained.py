"""Whether this machine keeps a million hourly tokens fresh: 278 a second, by beat's own task and real workers."""

from __future__ import annotations

import time
from typing import Any

from celery import Celery
from django.db.models import Max
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount
from tests.benchmarks.site import Site, due_accounts, seconds_until_all_are_refreshed

RATE = 278
BEAT = 10.0
"""Seconds between two looks of beat here, so that two minutes show many of them."""


def measure(site: Site, seconds: float) -> list[dict[str, Any]]:
    count = int(RATE * seconds)
    due_accounts("sustained-", count, spread=seconds)
    begin = timezone.now()
    OntraportAccount.objects.update(refreshed_at=None)
    with site.worker("--pool", "prefork", "--concurrency", "2"), override_settings(ONTRAPORT_REFRESH_RATE=1000):
        app = Celery(broker=site.valkey.url, set_as_current=True)
        started = time.monotonic()
        while time.monotonic() - started < seconds + BEAT:
            tasks.refresh_expiring_tokens()
            time.sleep(BEAT)
        took = seconds_until_all_are_refreshed(started)
        app.close()
    last = OntraportAccount.objects.aggregate(last=Max("refreshed_at"))["last"]
    within = OntraportAccount.objects.filter(version=1).count()
    return [
        {
            "due a second": RATE,
            "seconds": seconds,
            "refreshed": within,
            "refreshed a second": round(within / (last - begin).total_seconds()),
            "all done after s": round(took, 1),
        }
    ]
