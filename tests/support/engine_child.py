"""Processes of a site, for tests that need several or have to kill one: ``python -m tests.support.engine_child ACTION ARGUMENT…``."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import django

django.setup()

from django.db import connection, connections  # noqa: E402 - Django must be set up first

from ontraport_connect.exceptions import OntraportError  # noqa: E402
from ontraport_connect.models import OntraportAccount  # noqa: E402
from ontraport_connect.protocol import Client, Grant  # noqa: E402
from ontraport_connect.refreshing import batches, one_account  # noqa: E402
from tests.support.dialects import quoted  # noqa: E402


def race(count: int) -> None:
    """Read all accounts in ``count`` processes, then refresh every account in all of them at once. Prints the tokens of each."""
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
        one_account.refresh(account)
        held[account.pk] = account.access_token.reveal()
    connections.close_all()
    results.put(json.dumps(held))


def mixed(seconds: float) -> None:
    """Refresh random accounts in four processes for ``seconds``, alone and in batches, ignoring errors. Prints how often each succeeded."""
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
                one_account.refresh(OntraportAccount.objects.get(pk=random.choice(pks)))
            done += 1
        if connection.connection is not None:
            connection.close_if_unusable_or_obsolete()
    connections.close_all()
    print(f"worked {done} times", flush=True)


def kill_at(point: str, how: str, pk: int | None = None) -> None:
    """Refresh the account ``pk`` (without it, the only one) alone or in a batch, as ``how`` says, and kill this process at ``point``."""
    account = OntraportAccount.objects.get() if pk is None else OntraportAccount.objects.get(pk=pk)
    if point == "before sending":
        sys.addaudithook(die_before_sending)
    if point == "after the answer":
        threading.setprofile(die_after_the_answer)
        sys.setprofile(die_after_the_answer)
    with connection.execute_wrapper(killer(point)):
        if how == "batch":
            batches.refresh_batch([account.pk])
        else:
            one_account.refresh(account)


def kill_each_at(point: str, pks: Sequence[int]) -> None:
    """Kill one process at ``point`` for each of ``pks``, refreshing alone and in a batch by turns. Prints how many were killed."""
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=kill_at, args=(point, ("alone", "batch")[number % 2], pk))
        for number, pk in enumerate(pks)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print(f"{sum(child.exitcode == -signal.SIGKILL for child in children)} killed", flush=True)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_sending(event: str, arguments: tuple[Any, ...]) -> None:
    """Kill the process when the connection is open and no byte of the request has been sent. An audit hook (PEP 578)."""
    if event == "http.client.send":
        die()


def die_after_the_answer(frame: FrameType, event: str, argument: object) -> None:
    """Kill the process when the new tokens exist only in memory. A profile function."""
    if event == "return" and frame.f_code is Client.refresh.__code__ and isinstance(argument, Grant):
        die()


def killer(point: str) -> Callable[..., Any]:
    def wrapper(execute: Any, sql: str, *args: Any) -> Any:
        is_after_claim = sql.startswith("SELECT") and '"lease_owner" =' in quoted(sql)
        if is_save(sql) and point == "before the save":
            die()
        result = execute(sql, *args)
        if (is_after_claim and point == "after the claim") or (is_save(sql) and point == "after the save"):
            die()
        return result

    return wrapper


def is_save(sql: str) -> bool:
    return sql.startswith("UPDATE") and '"refreshed_at"' in quoted(sql).split("WHERE", maxsplit=1)[0]


def window(how: str) -> None:
    """Refresh every account, alone or in batches of a hundred. Prints when each save was committed, in seconds of ``time.monotonic()``."""
    saved: dict[int, float] = {}
    accounts = {account.pk: account for account in OntraportAccount.objects.all()}

    def watch(execute: Any, sql: str, params: Any, *args: Any) -> Any:
        result = execute(sql, params, *args)
        if is_save(sql):
            assert not connection.in_atomic_block, "committed later than this statement"
            saved.update(dict.fromkeys(accounts.keys() & numbers_in(params), time.monotonic()))
        return result

    with connection.execute_wrapper(watch):
        if how == "batch":
            pks = list(accounts)
            for at in range(0, len(pks), 100):
                batches.refresh_batch(pks[at : at + 100])
        else:
            for account in accounts.values():
                one_account.refresh(account)
    print(json.dumps(saved), flush=True)


def numbers_in(params: Any) -> set[int]:
    """Return the integers among the parameters of a statement, those in lists and in JSON included."""
    if isinstance(params, str) and params.startswith("[{"):
        return numbers_in([list(row.values()) for row in json.loads(params)])
    if isinstance(params, list | tuple):
        return set().union(*map(numbers_in, params))
    return {params} if isinstance(params, int) else set()


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["race", count]:
            race(int(count))
        case ["mixed", seconds]:
            mixed(float(seconds))
        case ["batch", *pks]:
            print(batches.refresh_batch([int(pk) for pk in pks]), flush=True)
        case ["kill", point, how]:
            kill_at(point, how)
        case ["kill each", point, *pks]:
            kill_each_at(point, [int(pk) for pk in pks])
        case ["window", how]:
            window(how)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
