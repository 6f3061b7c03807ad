"""How the table of accounts grows over ten refresh cycles, and how many of its updates touch no index (HOT).

    python -m tests.benchmarks.table [--accounts N] [--cycles N] [--json FILE]

Rows are claimed and saved as batches do it, 32 at once; nothing is sent. PostgreSQL cleans up after each cycle, as autovacuum does on a
table that was updated all over. ``without the index`` shows what it would bring if nothing that a refresh changes were indexed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["TEST_DATABASE"] = "postgresql"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.db import connection  # noqa: E402
from django.test.utils import setup_databases, teardown_databases  # noqa: E402

from ontraport_connect.encryption import Secret  # noqa: E402
from ontraport_connect.models import OntraportAccount  # noqa: E402
from ontraport_connect.protocol import Grant  # noqa: E402
from ontraport_connect.refreshing import group_saves, leases  # noqa: E402
from ontraport_connect.refreshing.saving import columns_for  # noqa: E402
from tests.benchmarks.site import due_accounts, table  # noqa: E402

TABLE = OntraportAccount._meta.db_table
INDEX = "ontraport_refresh_at"
AT_ONCE = 32


def execute(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


VARIANTS = {
    "fillfactor 100": (100, True),
    "fillfactor 70": (70, True),
    "fillfactor 50": (50, True),
    "fillfactor 100, without the index": (100, False),
    "fillfactor 50, without the index": (50, False),
}
"""What is measured: the share of a page that is filled at first, and whether ``refresh_at`` is indexed."""


def cycle(pks: list[int], number: int) -> None:
    """Refresh every account once, in an order of its own."""
    pks = random.sample(pks, len(pks))
    for at in range(0, len(pks), AT_ONCE):
        group = pks[at : at + AT_ONCE]
        claimed = leases.claim(OntraportAccount.objects.all(), group, is_probe=False)
        grants = [
            Grant(
                access_token=Secret(f"a.{lease.account.pk}.{number}"),
                refresh_token=Secret(f"r.{lease.account.pk}.{number}"),
                lifetime=3600.0,
                scope=None,
            )
            for lease in claimed
        ]
        saved = group_saves.save(
            [(lease, columns_for(lease, grant)) for lease, grant in zip(claimed, grants, strict=True)]
        )
        assert len(saved) == len(group), (len(claimed), len(saved))


def measure(percent: int, is_indexed: bool, accounts: int, cycles: int) -> dict[str, Any]:
    with variant(percent, is_indexed):
        pks = due_accounts("table-", accounts)
        execute(f"VACUUM FULL ANALYZE {TABLE}")
        heap, indexes = sizes()
        (log,) = execute("SELECT pg_current_wal_lsn() - '0/0'")
        execute("SELECT pg_stat_reset()")
        for number in range(cycles):
            cycle(pks, number)
            execute(f"VACUUM {TABLE}")
        heap_after, indexes_after = sizes()
        (log_after,) = execute("SELECT pg_current_wal_lsn() - '0/0'")
        execute("SELECT pg_stat_force_next_flush()")
        updates, hot = execute(f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '{TABLE}'")  # noqa: S608
        return {
            "heap MB": round(heap / 2**20, 1),
            "after": round(heap_after / 2**20, 1),
            "grew": round(heap_after / heap, 2),
            "indexes MB": round(indexes / 2**20, 1),
            "after ": round(indexes_after / 2**20, 1),
            "grew ": round(indexes_after / indexes, 2),
            "HOT %": round(100 * hot / updates),
            "WAL bytes a refresh": round((log_after - log) / accounts / cycles),
        }


@contextmanager
def variant(percent: int, is_indexed: bool) -> Iterator[None]:
    """Leave the table empty, and as it was."""
    execute(f"ALTER TABLE {TABLE} SET (fillfactor = {percent}, autovacuum_enabled = off)")
    if not is_indexed:
        execute(f"DROP INDEX {INDEX}")
    try:
        yield
    finally:
        execute(f"TRUNCATE {TABLE} CASCADE")
        if not is_indexed:
            execute(f"CREATE INDEX {INDEX} ON {TABLE} (refresh_at, id)")


def sizes() -> tuple[int, int]:
    found: tuple[int, int] = execute(f"SELECT pg_table_size('{TABLE}'), pg_indexes_size('{TABLE}')")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.table", description=__doc__)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    arguments = parser.parse_args()
    rows = []
    databases = setup_databases(verbosity=0, interactive=False)
    try:
        for name, (percent, is_indexed) in VARIANTS.items():
            rows.append({"what": name, **measure(percent, is_indexed, arguments.accounts, arguments.cycles)})
            print(rows[-1], flush=True)
    finally:
        teardown_databases(databases, verbosity=0)
    print(table(f"{arguments.accounts} accounts, {arguments.cycles} refresh cycles", rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
