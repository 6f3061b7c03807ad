"""Processes of a site, for the tests that need several, or one to kill: ``python -m tests.engine_child ACTION ARGUMENT…``."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import django

django.setup()

from django.db import connection, connections  # noqa: E402 - Django must be set up first

from ontraport_connect import batches, refreshing  # noqa: E402
from ontraport_connect.exceptions import OntraportError  # noqa: E402
from ontraport_connect.models import OntraportAccount  # noqa: E402


def race(count: int) -> None:
    """Read all accounts in ``count`` processes, then refresh each of them in all at once; print who holds which token."""
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(count), context.SimpleQueue()
    racers = [context.Process(target=run_race, args=(start, results)) for _ in range(count)]
    for racer in racers:
        racer.start()
    for _ in racers:
        print(results.get(), flush=True)
    for racer in racers:
        racer.join()


def run_race(start: Any, results: Any) -> None:
    accounts = list(OntraportAccount.objects.order_by("?"))
    start.wait()
    held = {}
    for account in accounts:
        refreshing.refresh(account)
        held[account.pk] = account.access_token.reveal()
    connections.close_all()
    results.put(json.dumps(held))


def mixed(seconds: float) -> None:
    """Keep using and refreshing all accounts, one by one and in batches, for a while, whatever happens; print how often it worked."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=run_mixed, args=(seconds,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def run_mixed(seconds: float) -> None:
    end, done = time.monotonic() + seconds, 0
    pks: list[int] = []
    while time.monotonic() < end:
        with suppress(django.db.Error, OntraportError):
            pks = pks or list(OntraportAccount.objects.values_list("pk", flat=True))
            if random.random() < 0.5:
                batches.refresh_batch(random.sample(pks, 5))
            else:
                refreshing.refresh(OntraportAccount.objects.get(pk=random.choice(pks)))
            done += 1
        if connection.connection is not None:
            connection.close_if_unusable_or_obsolete()
    connections.close_all()
    print(f"worked {done} times", flush=True)


def kill_at(point: str, how: str) -> None:
    """Refresh every account, and be killed at ``point``, a statement of the engine, in the way ``how`` says."""
    account = OntraportAccount.objects.get()
    with connection.execute_wrapper(killer(point)):
        if how == "batch":
            batches.refresh_batch([account.pk])
        else:
            refreshing.refresh(account)


def killer(point: str) -> Callable[..., Any]:
    def wrapper(execute: Any, sql: str, *args: Any) -> Any:
        is_save = sql.startswith("UPDATE") and '"refreshed_at"' in sql.split("WHERE", maxsplit=1)[0]
        is_after_claim = sql.startswith("SELECT") and '"lease_owner" =' in sql
        if is_save and point == "before the save":
            os.kill(os.getpid(), signal.SIGKILL)
        result = execute(sql, *args)
        if (is_after_claim and point == "after the claim") or (is_save and point == "after the save"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapper


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["race", count]:
            race(int(count))
        case ["mixed", seconds]:
            mixed(float(seconds))
        case ["kill", point, how]:
            kill_at(point, how)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
