"""What `kill -9` costs at each point of a refresh, and how wide the window is that cannot be closed."""

from __future__ import annotations

import json
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery
from django.db import connection
from django.db.models import F
from django.test import override_settings

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount, Status
from tests.benchmarks.site import Site, due_accounts
from tests.support.servers import Process, wait_until
from tests.support.strict_server import Grant, StrictServer

KILLS = """kill -9 at each point of a refresh, by turns alone and in a batch; beat looks each second, a worker refreshes what it finds.
They agree when nobody holds the row and it says of the grant what Ontraport says."""

WINDOW = """Milliseconds from Ontraport's commit to ours, with fsync and an answer that takes no time on the way"""

POINTS = ("after the claim", "before sending", "while waiting", "after the answer", "after the save")
BEAT = 1.0
"""Seconds between two runs of beat's task here; on a site it is a minute."""

UNMISTAKABLE = 10**9
"""The first id of an account here. No other number in a statement is as large."""


@dataclass(kw_only=True)
class Link:
    """One account: when its process was killed, and what row and server said about its grant then."""

    pk: int
    grant: str
    killed_at: float = 0.0
    row_says: str = ""
    ontraport_says: str = ""
    agreed_after: float | None = None
    needs_reconnect: bool = False


@dataclass(kw_only=True)
class Kills:
    """The processes killed at one point."""

    point: str
    links: list[Link] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        waits = [link.agreed_after for link in self.links if link.agreed_after is not None]
        return {
            "killed": self.point,
            "times": len(self.links),
            "row says": counted(link.row_says for link in self.links),
            "Ontraport says": counted(link.ontraport_says for link in self.links),
            "agree after s, median": round(statistics.median(waits), 1),
            "worst": round(max(waits), 1),
            "need a reconnect": f"{sum(link.needs_reconnect for link in self.links)} of {len(self.links)}",
        }


def counted(said: Iterable[str]) -> str:
    counts = Counter(said)
    return next(iter(counts)) if len(counts) == 1 else "; ".join(f"{what} ({count})" for what, count in counts.items())


@contextmanager
def strict_site(site: Site) -> Iterator[tuple[Site, StrictServer]]:
    """Run the site with a token endpoint in this process, whose grants can be inspected."""
    with StrictServer() as strict, override_settings(**strict.settings):
        yield Site(strict.url, site.valkey, Path(tempfile.mkdtemp(dir=site.directory))), strict


def child(site: Site, *arguments: str) -> Process:
    return Process(sys.executable, "-m", "tests.support.engine_child", *arguments, log=site.log(), environ=site.environ)


def measure(site: Site, times: int) -> list[dict[str, Any]]:
    pks = due_accounts("kill", times * len(POINTS))
    links = [Link(pk=pk, grant=f"kill{number}") for number, pk in enumerate(pks)]
    kills = [Kills(point=point, links=links[at * times : (at + 1) * times]) for at, point in enumerate(POINTS)]
    with strict_site(site) as (here, strict):
        for each in kills:
            kill(here, strict, each)
        with here.worker("--pool", "prefork", "--concurrency", "1"):
            wait_for_agreement(here, strict, links)
    return [each.row() for each in kills]


def kill(site: Site, strict: StrictServer, kills: Kills) -> None:
    if kills.point == "while waiting":
        strict.behave(hold="after")
    process = child(site, "kill each", kills.point, *(str(link.pk) for link in kills.links))
    if kills.point == "while waiting":
        strict.wait_for_held(len(kills.links))
        process.stop(signal.SIGKILL)
        strict.release()
    else:
        process.wait_for_line(rf"^{len(kills.links)} killed$")
        process.child.wait()
    for link in kills.links:
        link.killed_at = time.monotonic()
        row, grant = look(strict, link)
        lease = "" if row.lease_until is None else ", leased"
        link.row_says = f"{row.status}, {token_of(row)}{lease}"
        link.ontraport_says = f"token {grant.serial} is current"


def look(strict: StrictServer, link: Link) -> tuple[Any, Grant]:
    """Return the row and the grant as they are now, and record the time when they agree."""
    row, grant = OntraportAccount.objects.get(pk=link.pk), strict.endpoint.grant(link.grant)
    link.needs_reconnect = row.status == Status.NEEDS_RECONNECT
    says_the_same = (
        not grant.alive if link.needs_reconnect else grant.alive and token_of(row) == f"token {grant.serial}"
    )
    if says_the_same and row.lease_until is None:
        link.agreed_after = time.monotonic() - link.killed_at
    return row, grant


def token_of(row: Any) -> str:
    return f"token {row.refresh_token.reveal().rsplit('.', maxsplit=1)[1]}"


def wait_for_agreement(site: Site, strict: StrictServer, links: Sequence[Link]) -> None:
    next_look = time.monotonic()

    def all_agree() -> bool:
        nonlocal next_look
        if time.monotonic() > next_look:
            tasks.refresh_expiring_tokens()
            next_look += BEAT
        waiting = [link for link in links if link.agreed_after is None]
        for link in waiting:
            look(strict, link)
        return not waiting

    with Celery(broker=site.valkey.url, set_as_current=True):
        wait_until(all_agree, "rows and Ontraport to agree", 170)


def measure_window(site: Site, count: int) -> list[dict[str, Any]]:
    ways = {"alone": "one at a time", "batch": "in batches of 100, 32 at once"}
    with durable(), strict_site(site) as (here, strict):
        return [{"refreshed": what, **window(here, strict, how, count)} for how, what in ways.items()]


@contextmanager
def durable() -> Iterator[None]:
    """Run PostgreSQL with its default durability, which waits for the disk. The tests turn that off."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET fsync = on")
        cursor.execute("ALTER SYSTEM SET full_page_writes = on")
        cursor.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            cursor.execute("ALTER SYSTEM RESET ALL")
            cursor.execute("SELECT pg_reload_conf()")


def window(site: Site, strict: StrictServer, how: str, count: int) -> dict[str, Any]:
    pks = due_accounts(f"window-{how}", count)
    OntraportAccount.objects.update(id=F("id") + UNMISTAKABLE)
    process = child(site, "window", how)
    process.child.wait(120)
    saved = json.loads(process.wait_for_line(r"^\{.*\}$")[0])
    grants = strict.endpoint.grants
    widths = [
        (saved[str(pk + UNMISTAKABLE)] - grants[f"window-{how}{number}"].spent_at) * 1000
        for number, pk in enumerate(pks)
    ]
    return {
        "times": count,
        "median ms": round(statistics.median(widths), 1),
        "p95 ms": round(statistics.quantiles(widths, n=20)[-1], 1),
        "worst ms": round(max(widths), 1),
    }
