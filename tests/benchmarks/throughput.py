"""Refreshes per second of 2,000 due accounts, with 32 calls in flight and an answer after 50 ms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import requests
from celery import Celery
from requests.adapters import HTTPAdapter

from ontraport_connect.refreshing.due_accounts import BATCH_SIZE
from tests.benchmarks.site import Site, due_accounts, seconds_until_all_are_refreshed

CONCURRENCY = 32
LOOPED = 100
"""Number of refreshes for libraries that do one after the other."""


def measure(site: Site, count: int) -> list[dict[str, Any]]:
    rates: dict[str, Callable[[], float]] = {
        "a  requests alone, 32 threads, no database": lambda: bare(site, count),
        "b  this app, a Celery worker of two processes, 16 calls each": lambda: this_app(site, count, 2),
        "b1 this app, a Celery worker of one process, 32 calls": lambda: this_app(site, count, 1),
        "c  one Celery task per account, 32 threads": lambda: one_task_each(site, count),
    }
    if find_spec("social_core") and find_spec("authlib"):
        libraries = import_module("tests.benchmarks.libraries")
        rates["d  social-auth-core in a loop"] = lambda: per_second(
            LOOPED, libraries.social_auth_core(site.url, LOOPED)
        )
        rates["e  Authlib in a loop"] = lambda: per_second(LOOPED, libraries.authlib(site.url, LOOPED))
    measured = {name: rate() for name, rate in rates.items()}
    limit = next(iter(measured.values()))
    return [
        {"what": name, "per second": round(rate), "of a": round(rate / limit, 2)} for name, rate in measured.items()
    ]


def per_second(count: int, step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return count / (time.monotonic() - started)


def bare(site: Site, count: int) -> float:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=CONCURRENCY))

    def refresh(number: int) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": f"r.bare{number}.0"}
        session.post(f"{site.url}/token", data=form, timeout=10).raise_for_status()

    with ThreadPoolExecutor(CONCURRENCY) as threads, session:
        return per_second(count, lambda: list(threads.map(refresh, range(count))))


def this_app(site: Site, count: int, processes: int) -> float:
    pks = due_accounts(f"app{processes}-", count)
    each = CONCURRENCY // processes
    with site.worker("--pool", "prefork", "--concurrency", str(processes), ONTRAPORT_REFRESH_CONCURRENCY=each):
        pages = [pks[at : at + BATCH_SIZE] for at in range(0, count, BATCH_SIZE)]
        return count / run(site, "ontraport_connect.tasks.refresh_accounts", pages)


def one_task_each(site: Site, count: int) -> float:
    pks = due_accounts("naive-", count)
    with site.worker("--pool", "threads", "--concurrency", str(CONCURRENCY), "--include", "tests.benchmarks.naive"):
        return count / run(site, "tests.benchmarks.naive.refresh", pks)


def run(site: Site, task: str, arguments: Iterable[Any]) -> float:
    started = time.monotonic()
    with Celery(broker=site.valkey.url, set_as_current=False) as app:
        for argument in arguments:
            app.send_task(task, [argument])
    return seconds_until_all_are_refreshed(started)
