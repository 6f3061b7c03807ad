"""Calls and refreshes over https and http, beside one kept ``requests.Session``: ratios to the Session, and what each call costs.

The ways take turns, and of each the best of ``ROUNDS`` turns counts, since whatever else the machine does only makes a turn slower.
Accounts are many, as at a site, for each may be called 180 times a minute; Redis is the rate limiter's. Connections, requests, statements
and round trips to Redis are counted in the last turn.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
import requests
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.test import override_settings

from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import close_connections
from ontraport_connect.refreshing import batches
from ontraport_connect.refreshing.due_accounts import BATCH_SIZE
from ontraport_connect.using import rate_store
from tests.benchmarks.answering import OBJECTS, PAGE, Server, answering
from tests.benchmarks.site import Site, due_accounts, forget_accounts
from tests.support.engine_child import is_save, numbers_in

ROUNDS = 5
THREADS = 64
IN_FLIGHT = 32
DELAY = 0.05
TIMEOUT = (3.05, 10)
KEYS = {"Api-Appid": "2_187157_benchmark", "Api-Key": "benchmark-key"}

Call = Callable[[OntraportAccount], object]


@dataclass(kw_only=True)
class Costs:
    """What the calls of one turn cost."""

    statements: int = 0
    connections: int = 0
    requests: int = 0
    redis: int = 0

    def a_call(self, calls: int) -> dict[str, float]:
        return {
            "connections": self.connections,
            "requests a call": round(self.requests / calls, 2),
            "statements a call": round(self.statements / calls, 2),
            "Redis a call": round(self.redis / calls, 2),
        }


@contextmanager
def counted(site: Site, server: Server) -> Iterator[Costs]:
    """Count what this thread and its kind do: statements of this thread, and all of the server's and of Redis."""
    costs = Costs()

    def note(execute: Callable[..., Any], *args: Any) -> Any:
        costs.statements += 1
        return execute(*args)

    with redis.Redis.from_url(site.valkey.url) as admin:
        before, reads = server.get("counts"), admin.info("stats")["total_reads_processed"]
        with connection.execute_wrapper(note):
            yield costs
        after, reads_after = server.get("counts"), admin.info("stats")["total_reads_processed"]
    costs.connections = after["connections"] - before["connections"] - 1  # its own
    costs.requests = after["requests"] - before["requests"] - 1
    costs.redis = reads_after - reads - 1


def measure(site: Site, calls: int) -> list[dict[str, Any]]:
    rows = []
    with answering() as server:
        for scheme in ("https", "http"):
            with settings(site, server, scheme):
                rows += calls_of(site, server, scheme, calls)
                close_connections()
    return rows


@contextmanager
def settings(site: Site, server: Server, scheme: str) -> Iterator[None]:
    url = server.url(scheme)
    endpoints = {"authorization_endpoint": f"{url}/authorize", "token_endpoint": f"{url}/token"}
    with override_settings(
        ONTRAPORT_REST_URL=f"{url}/1/",
        ONTRAPORT_MCP_URL=url,
        ONTRAPORT_ENDPOINTS=endpoints,
        ONTRAPORT_RESOURCE=None,
        ONTRAPORT_CA_BUNDLE=server.bundle,
        ONTRAPORT_REDIS_URL=site.valkey.url,
    ):
        yield
    rate_store._redis_store.cache_clear()


def session_for(server: Server, threads: int) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = server.bundle
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=threads))
    return session


def key_accounts(count: int) -> list[OntraportAccount]:
    forget_accounts()
    user = get_user_model().objects.get_or_create(username="benchmark")[0]
    made = [
        OntraportAccount(user=user, method=Method.API_KEY, ontraport_id=str(number), app_id="2_1_b", access_token="k")
        for number in range(count)
    ]
    OntraportAccount.objects.bulk_create(made)
    return list(OntraportAccount.objects.select_related("user"))


def calls_of(site: Site, server: Server, scheme: str, calls: int) -> list[dict[str, Any]]:
    url = f"{server.url(scheme)}/1/objects"
    query = {"objectID": 0, "range": 1}
    session, with_auth = session_for(server, THREADS), session_for(server, THREADS)
    ways: dict[str, Call] = {
        "requests.Session": lambda _: session.get(url, params=query, headers=KEYS, timeout=TIMEOUT).json(),
        "account.rest": lambda account: account.rest("GET", "objects", params=query),
        "Session with account.auth()": lambda account: with_auth.get(
            url, params=query, auth=account.auth(), timeout=TIMEOUT
        ).json(),
    }
    paging: dict[str, Call] = {
        "pages: requests.Session": lambda _: session_pages(session, url),
        "pages: account.rest_pages": lambda account: list(account.rest_pages("objects", objectID=0)),
    }
    accounts = key_accounts(max(2 * ROUNDS, calls * ROUNDS // 60))
    rows = []
    for delay in (0.0, 0.02):
        server.delay(delay)
        rows += turns(site, server, ways, accounts, calls=calls // 4 if delay else calls)
    server.delay(0.0)
    rows += turns(site, server, ways, accounts, calls=calls * 2, threads=THREADS)
    rows += turns(site, server, paging, accounts, calls=2)
    return [{"over": scheme, **row} for row in rows]


def session_pages(session: requests.Session, url: str) -> list[Any]:
    found: list[Any] = []
    while not len(found) % PAGE:
        query = {"objectID": 0, "start": len(found), "range": PAGE}
        page = session.get(url, params=query, headers=KEYS, timeout=TIMEOUT).json()["data"]
        if not page:
            break
        found += page
    assert len(found) == OBJECTS
    return found


def turns(
    site: Site, server: Server, ways: dict[str, Call], accounts: list[OntraportAccount], *, calls: int, threads: int = 1
) -> list[dict[str, Any]]:
    """Let the ways take turns, and return the best of each."""
    best: dict[str, tuple[float, float]] = {}
    costs: dict[str, dict[str, float]] = {}
    for name, call in [*ways.items()] * ROUNDS:
        with redis.Redis.from_url(site.valkey.url) as admin:
            admin.flushdb()
        with counted(site, server) as cost:
            took = turn(call, calls, threads, accounts)
        costs[name] = cost.a_call(calls)
        best[name] = tuple(map(min, took, best.get(name, took)))  # type: ignore[assignment]
    first, first_cpu = next(iter(best.values()))
    return [
        {
            "what": name,
            "threads": threads,
            "ms a call": round(seconds * 1000, 2),
            "calls a second": round(1 / seconds, 1),
            "ratio of time": round(seconds / first, 2),
            "ratio of rate": round(first / seconds, 2),
            "ratio of CPU": round(cpu / first_cpu, 2),
            **costs[name],
        }
        for name, (seconds, cpu) in best.items()
    ]


def turn(call: Call, calls: int, threads: int, accounts: list[OntraportAccount]) -> tuple[float, float]:
    """Return the seconds, and the seconds of this process's CPU, that one of so many calls took."""
    numbers, lock = itertools.count(), threading.Lock()

    def work(_: int) -> None:
        try:
            while True:
                with lock:
                    number = next(numbers)
                if number >= calls:
                    return
                call(accounts[number % len(accounts)])
        finally:
            if threads > 1:
                connections.close_all()

    started, used = time.perf_counter(), time.process_time()
    if threads == 1:
        work(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    return (time.perf_counter() - started) / calls, (time.process_time() - used) / calls


def measure_refreshing(site: Site, count: int) -> list[dict[str, Any]]:
    """Refresh in this process, 32 calls in flight, an answer after 50 ms, and beside it the bare loop of a Session without a database."""
    rows = []
    with answering() as server:
        server.delay(DELAY)
        for scheme in ("https", "http"):
            with settings(site, server, scheme):
                best: dict[str, float] = {}
                found: dict[str, Any] = {}
                for number in range(ROUNDS - 2):
                    bare = bare_loop(server, scheme, f"bare{scheme}{number}-", count)
                    best["bare"] = min(bare, best.get("bare", bare))
                    ours, costs = our_refreshes(site, server, f"ours{scheme}{number}-", count)
                    if ours < best.get("ours", ours + 1):
                        best["ours"], found = ours, costs
                close_connections()
            rows.append(
                {
                    "over": scheme,
                    "bare loop, a second": round(count / best["bare"]),
                    "this app, a second": round(count / best["ours"]),
                    "ratio": round(best["bare"] / best["ours"], 2),
                    **found,
                }
            )
    return rows


def bare_loop(server: Server, scheme: str, prefix: str, count: int) -> float:
    def refresh(number: int) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": f"r.{prefix}{number}.0", "client_id": "id"}
        session.post(f"{server.url(scheme)}/token", data=form, timeout=TIMEOUT).json()

    with session_for(server, IN_FLIGHT) as session, ThreadPoolExecutor(IN_FLIGHT) as threads:
        started = time.perf_counter()
        list(threads.map(refresh, range(count)))
        return time.perf_counter() - started


def our_refreshes(site: Site, server: Server, prefix: str, count: int) -> tuple[float, dict[str, float]]:
    """Return the seconds, what a refresh cost, and how long after Ontraport's commit ours was."""
    pks = due_accounts(prefix, count)
    first = pks[0]
    saved: dict[int, float] = {}

    def watch(execute: Callable[..., Any], sql: str, params: Any, *args: Any) -> Any:
        result = execute(sql, params, *args)
        if is_save(sql):
            saved.update(dict.fromkeys(numbers_in(params), time.monotonic()))
        return result

    with counted(site, server) as costs, connection.execute_wrapper(watch):
        started = time.perf_counter()
        for at in range(0, count, BATCH_SIZE):
            outcome = batches.refresh_batch(pks[at : at + BATCH_SIZE])
            assert set(outcome) == {"refreshed"}, outcome
        seconds = time.perf_counter() - started
    spent = server.get("spent")
    widths = [(saved[pk] - spent[f"r.{prefix}{pk - first}.0"]) * 1000 for pk in pks]
    quantiles = statistics.quantiles(widths, n=20)
    return seconds, {
        **costs.a_call(count),
        "window ms": round(statistics.median(widths), 1),
        "p95": round(quantiles[-1], 1),
    }
