"""What a run of beat's task costs when 1,000 accounts are due, of 10,000 and of 1,000,000."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection

from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.refreshing import due_accounts
from tests.benchmarks.site import forget_accounts

DUE = 1_000
ROUNDS = 15
INDEX = "ontraport_refresh_at"

FILL = """
INSERT INTO ontraport_connect_ontraportaccount (
    uid, user_id, tenant, label, is_default, method, ontraport_id, scope, client_id, access_token, refresh_token,
    expires_at, refresh_at, status, last_error, failures, linked_at, version, lease_owner {more}
)
SELECT gen_random_uuid(), %s, '', '', false, 'oauth', '', 'mcp:tools', '', '\\x01', '\\x01',
    now() + interval '1 hour', now() + interval '1 day' * random() + interval '1 hour', 'connected', '', 0, now(), 0, '' {values}
FROM generate_series(1, %s)
"""


def measure(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    forget_accounts()
    user = get_user_model().objects.get_or_create(username="benchmark")[0]
    rows = []
    for size in sizes:
        fill(user.pk, size - OntraportAccount.objects.count())
        rows.append({"accounts": f"{size:,}", "due": DUE, **cost()})
    first, last = rows[0]["median ms"], rows[-1]["median ms"]
    for row in rows:
        row["times the first"] = round(row["median ms"] / first, 2)
    assert last
    forget_accounts()
    return rows


def fill(user: int, count: int) -> None:
    known = FILL.split("(")[1].split(")", maxsplit=1)[0]
    more = [
        field
        for field in OntraportAccount._meta.concrete_fields
        if not field.null and not field.primary_key and str(field.column) not in known
    ]
    sql = FILL.format(more="".join(f", {field.column}" for field in more), values="".join(", ''" for _ in more))
    with connection.cursor() as cursor:
        cursor.execute(sql, [user, count])
        cursor.execute(
            "UPDATE ontraport_connect_ontraportaccount SET refresh_at = now() + interval '1 hour' WHERE refresh_at < now()"
        )
        cursor.execute(
            "UPDATE ontraport_connect_ontraportaccount SET refresh_at = now() - interval '1 second' * random() WHERE id IN"
            " (SELECT id FROM ontraport_connect_ontraportaccount ORDER BY random() LIMIT %s)",
            [DUE],
        )
        cursor.execute("VACUUM ANALYZE ontraport_connect_ontraportaccount")


def look() -> None:
    assert sum(map(len, due_accounts.due_batches(DUE * 2))) == DUE


def cost() -> dict[str, Any]:
    look()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        look()
        times.append((time.perf_counter() - started) * 1000)
    gc.collect()
    tracemalloc.start()
    look()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"median ms": round(statistics.median(times), 1), "peak KiB": peak // 1024, "plan": scan()}


def scan() -> str:
    """Return how PostgreSQL finds the due accounts."""
    due = OntraportAccount.objects.due().usable().filter(method=Method.OAUTH).order_by("refresh_at", "pk")
    plan = due.values_list("refresh_at", "pk")[: due_accounts.BATCH_SIZE].explain()
    scans = [line.strip(" ->").split("  (")[0] for line in plan.splitlines() if "Scan" in line]
    return next(
        scan for scan in scans if INDEX in scan or scan.startswith(f"Seq Scan on {OntraportAccount._meta.db_table}")
    )
