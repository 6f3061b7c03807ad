"""What the rate limiter costs: one round trip to Redis, or one statement, and no more with 64 callers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from django.db import connection, transaction
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ontraport_connect.models import OntraportAccount, OntraportBudget
from ontraport_connect.using import rate_limiter, rate_store, rate_window
from ontraport_connect.using.rate_statements import reserve_sql
from tests.support.servers import Valkey

pytestmark = pytest.mark.django_db(transaction=True)

ACCOUNT = "187157"
KEY = f"account:{ACCOUNT}"
WAITERS = 64


@pytest.fixture
def site_redis(valkey: Valkey) -> Iterator[Valkey]:
    with override_settings(ONTRAPORT_REDIS_URL=valkey.url):
        yield valkey
    rate_store._redis_store.cache_clear()


@pytest.fixture
def has_redis(request: pytest.FixtureRequest) -> bool:
    """Whether the site has Redis. A fixture: an ``override_settings`` that ends after an outer one brings that back."""
    if request.param:
        request.getfixturevalue("site_redis")
    return bool(request.param)


def reserve(requests: int = 1, patience: float = 1000) -> rate_window.Turn:
    return rate_limiter.reserve(OntraportAccount(ontraport_id=ACCOUNT), patience=patience, requests=requests)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that this thread sends, and those of connections made for it."""
    sent: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        sent.append(sql.split(maxsplit=1)[0])
        return execute(sql, *args)

    with connection.execute_wrapper(note):
        yield sent


@contextmanager
def round_trips(valkey: Valkey) -> Iterator[list[str]]:
    """Collect the commands that clients send to Redis; what a script does inside Redis is not among them."""
    seen: list[str] = []
    with redis.Redis.from_url(valkey.url) as admin, redis.Redis.from_url(valkey.url) as other:
        other.ping()
        monitor = admin.monitor().__enter__()
        yield seen
        other.echo("the end")
        while "the end" not in (command := monitor.next_command())["command"]:
            if command["client_type"] != "lua":
                seen.append(command["command"].split()[0])


def test_a_turn_is_one_round_trip_to_redis_and_nothing_in_the_database(site_redis: Valkey) -> None:
    reserve()
    with round_trips(site_redis) as seen, statements() as sent:
        for _ in range(10):
            reserve()
            rate_limiter.throttle("keys:1", most=20, seconds=60)
    assert seen == ["EVALSHA"] * 20
    assert (sent, OntraportBudget.objects.count()) == ([], 0)


def test_a_turn_is_one_statement() -> None:
    reserve()
    rate_limiter.throttle("keys:1", most=20, seconds=60)
    with statements() as sent:
        for _ in range(10):
            reserve()
            rate_limiter.throttle("keys:1", most=20, seconds=60)
    assert sent == ["UPDATE"] * 20


def test_a_turn_that_has_come_is_looked_at_and_not_written_again() -> None:
    turn = reserve()
    with statements() as sent:
        assert rate_limiter.confirm(turn).wait == 0
    assert sent == ["SELECT"]


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 60))
def test_a_refusal_writes_nothing() -> None:
    reserve()
    with statements() as sent:
        assert rate_limiter.throttle(KEY, most=1, seconds=60) > 59
    assert sent == ["UPDATE", "SELECT"]


@pytest.mark.parametrize("has_redis", [True, pytest.param(False, marks=pytest.mark.sqlite)], indirect=True)
def test_inside_a_transaction_no_second_connection_is_made(has_redis: bool) -> None:
    """On a server database without Redis one is: the row would stay locked until the caller commits."""
    reserve()
    with transaction.atomic(), statements() as sent:
        before = threading.active_count()
        reserve()
        assert threading.active_count() == before
    assert sent == ([] if has_redis else ["UPDATE"])


def in_threads(step: Callable[[int], Any]) -> tuple[list[Any], int]:
    """Run ``step`` in 64 threads at once. Return what they return, and the number of their statements."""
    gate = threading.Barrier(WAITERS)

    def run(number: int) -> tuple[Any, int]:
        try:
            with statements() as sent:
                gate.wait()
                return step(number), len(sent)
        finally:
            connection.close()

    with ThreadPoolExecutor(WAITERS) as threads:
        done = list(threads.map(run, range(WAITERS)))
    return [result for result, _ in done], sum(count for _, count in done)


@override_settings(ONTRAPORT_RATE_LIMIT=(8, 60))
@pytest.mark.parametrize("has_redis", [True, False], indirect=True)
def test_64_callers_at_once_each_get_a_turn_at_once(has_redis: bool) -> None:
    """Nobody tries again because others were faster, neither for a turn nor, after a 429, for the next one."""
    reserve()
    turns, statements_for_turns = in_threads(lambda _: reserve())
    assert statements_for_turns == (0 if has_redis else WAITERS)
    times = sorted(turn.at for turn in turns)
    assert all(later - earlier >= 61_000 for earlier, later in zip(times, times[8:], strict=False))
    assert times[-1] - times[0] <= 61_000 * (WAITERS / 8 + 1)
    rate_limiter.hold(OntraportAccount(ontraport_id=ACCOUNT), 900)
    again, statements_for_others = in_threads(lambda number: rate_limiter.confirm(turns[number]))
    assert statements_for_others == (0 if has_redis else 2 * WAITERS)
    assert min(turn.wait for turn in again) > 800


PAST_AND_FUTURE = st.integers(-130_000, 60_000)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a store holds, relative to its clock, and what is asked of it."""

    calls: list[int]
    until: int | None
    most: int
    requests: int
    patience: float


CASES = st.builds(
    Case,
    calls=st.lists(PAST_AND_FUTURE, max_size=12),
    until=st.none() | PAST_AND_FUTURE,
    most=st.integers(3, 8),
    requests=st.integers(1, 3),
    patience=st.sampled_from([0.0, 30.0, 1000.0]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASES)
@pytest.mark.parametrize("has_redis", [True, False], indirect=True)
def test_statement_and_script_reserve_as_the_rule_says(has_redis: bool, case: Case) -> None:
    store = rate_store.redis_store() if has_redis else rate_store.DatabaseStore()
    assert store is not None
    held = store.load(KEY)
    before = rate_window.State(
        calls=tuple(sorted(held.now + at for at in case.calls)),
        until=0 if case.until is None else held.now + case.until,
        seen=held.now,
    )
    assert store.replace(KEY, held, before.write())
    window = rate_window.Window(most=case.most, span=61_000)
    wish: Any = {"window": window, "requests": case.requests}
    slot = store.reserve(KEY, **wish, patience=case.patience)
    after = rate_window.State.read(store.load(KEY).state)
    if slot is None:
        slot = rate_window.reserve(before, held.now, **wish, patience=0)[1]
        assert slot.wait > case.patience
    expected, by_rule = rate_window.reserve(before, slot.now, **wish, patience=case.patience)
    assert by_rule == slot
    horizon = slot.now - window.span
    assert [at for at in after.calls if at > horizon] == [at for at in expected.calls if at > horizon]
    assert after.until == expected.until


def test_old_calls_are_forgotten_in_time() -> None:
    """Each turn forgets more old calls than it adds, so that no state grows."""
    store = rate_store.DatabaseStore()
    held = store.load(KEY)
    old = rate_window.State(calls=tuple(range(held.now - 500_000, held.now - 500_000 + 40)), seen=held.now)
    store.replace(KEY, held, old.write())
    for _ in range(25):
        reserve(requests=2)
    assert len(rate_window.State.read(OntraportBudget.objects.get().state).calls) == 50


@pytest.mark.parametrize("text", ["", '{"calls":[1],"until":0,"seen":1}'])
def test_a_text_that_is_no_state_is_replaced(text: str) -> None:
    OntraportBudget.objects.create(key=KEY, state=text)
    assert reserve().wait == 0
    assert len(rate_window.State.read(OntraportBudget.objects.get().state).calls) == 1


def test_a_clock_of_redis_that_was_put_back_holds_nobody_for_longer(site_redis: Valkey) -> None:
    store = rate_store.redis_store()
    assert store is not None
    held = store.load(KEY)
    ahead = held.now + 600_000
    store.replace(KEY, held, rate_window.State(calls=(ahead,), until=ahead + 30_000, seen=ahead).write())
    assert 29 < reserve().wait <= 30


def test_databases_without_such_a_statement_do_it_in_two() -> None:
    assert reserve_sql("mysql", "budget", 180, 1) is None


def test_a_thread_that_is_held_up_keeps_the_others_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "COMPARE_PATIENCE", 0.01)
    with rate_limiter._comparing:
        rate_limiter.hold(OntraportAccount(ontraport_id=ACCOUNT), 30)
        assert not rate_limiter._comparing.acquire(blocking=False)
    assert 29 < reserve().wait <= 30
