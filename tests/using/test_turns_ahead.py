"""A list reserves the turns of several pages at once. What is counted is what was sent, and no minute has more than its limit."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, connections
from django.test import override_settings

from ontraport_connect import using
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import OntraportAccount, OntraportBudget
from ontraport_connect.using import rate_limiter, rate_store, rate_window, turns_ahead
from tests.support.answering import Answering, Asked, Reply, envelope
from tests.support.linked import key_account, person
from tests.support.servers import Valkey

pytestmark = pytest.mark.django_db(transaction=True)

AN_HOUR = {"ONTRAPORT_RATE_LIMIT": (180, 3600)}
"""With so long a window, no machine is too slow to use eight turns in time."""


@pytest.fixture(params=["database", "redis", "plugged"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "plugged":
        with using.counted_in_memory():
            yield request.param
        return
    if request.param == "database":
        yield request.param
        return
    with override_settings(ONTRAPORT_REDIS_URL=request.getfixturevalue("valkey").url):
        yield request.param
    rate_store._redis_store.cache_clear()


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


@contextmanager
def listing(objects: int, reply: Callable[[Asked], Reply | None] = lambda asked: None) -> Iterator[Answering]:
    """A server with a list of so many objects, unless ``reply`` says something else."""

    def page(asked: Asked) -> Reply:
        query = {name: int(values[0]) for name, values in parse_qs(urlsplit(asked.path).query).items()}
        start = query.get("start", 0)
        found = range(start, min(start + query["range"], objects))
        return reply(asked) or envelope([{"id": str(number)} for number in found])

    with (
        Answering(page) as server,
        override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/", ONTRAPORT_MCP_URL=server.url),
    ):
        yield server


def pages_of(account: OntraportAccount) -> Any:
    return account.rest_pages("objects", objectID=0, range=1)


def booked(account: OntraportAccount) -> tuple[int, ...]:
    """Return the times of the calls that the limiter counts."""
    key = rate_limiter.budget_key(account)
    held = rate_limiter._in_store(lambda store: store.load(key))
    return rate_window.State.read(held.state).calls


@override_settings(**AN_HOUR)
def test_a_list_reserves_one_then_two_four_and_eight_turns_at_once_in_redis(
    valkey: Valkey, account: OntraportAccount
) -> None:
    def commands() -> dict[str, int]:
        with redis.Redis.from_url(valkey.url) as admin:
            stats = admin.info("commandstats")
        return {name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval", "time")}

    with override_settings(ONTRAPORT_REDIS_URL=valkey.url), listing(29) as server:
        account.rest("GET", "objects", params={"range": 1})
        before = commands()
        assert len(list(pages_of(account))) == 29
        after = commands()
        assert len(server.asked) == len(booked(account)) == 31
    rate_store._redis_store.cache_clear()
    sent = {name: after[name] - before[name] for name in after}
    assert sent["evalsha"] == 6  # 1 + 2 + 4 + 8 + 8 + 8, for 30 pages
    assert sent["eval"] == 1  # to give one back


@override_settings(**AN_HOUR)
def test_a_list_makes_few_statements_where_the_database_counts(account: OntraportAccount) -> None:
    seen: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        seen.append(sql)
        return execute(sql, *args)

    with listing(30) as server:
        account.rest("GET", "objects", params={"range": 1})
        with connection.execute_wrapper(note):
            assert len(list(pages_of(account))) == 30
        assert len(server.asked) == len(booked(account)) == 32
    table = OntraportBudget._meta.db_table
    assert sum(table in sql for sql in seen) == 6  # 1 + 2 + 4 + 8 + 8 + 8, for 31 pages, and nothing to give back


@override_settings(**AN_HOUR)
@pytest.mark.parametrize(("pages", "reserved"), [(1, 1), (2, 3), (3, 3), (4, 7), (9, 15)])
def test_what_an_abandoned_list_has_reserved_passes_with_the_window(
    account: OntraportAccount, pages: int, reserved: int
) -> None:
    """The garbage collector may end it in the middle of anything, where the store must not be used."""
    with listing(50) as server:
        for number, _ in enumerate(pages_of(account), start=1):
            if number == pages:
                break
        assert (len(booked(account)), len(server.asked)) == (reserved, pages)


@override_settings(**AN_HOUR)
@pytest.mark.parametrize("pages", [1, 2, 3, 4, 9])
def test_a_list_that_ends_gives_back_what_it_has_not_used(store: str, account: OntraportAccount, pages: int) -> None:
    with listing(pages - 1) as server:
        assert len(list(pages_of(account))) == pages - 1
        assert len(booked(account)) == len(server.asked) == pages


@override_settings(**AN_HOUR)
def test_a_list_that_is_abandoned_in_async_code_ends_all_the_same(account: OntraportAccount) -> None:
    async def read() -> None:
        rows = aiter(pages_of(account))
        for _ in range(4):
            await anext(rows)
        await rows.aclose()

    with listing(50) as server:
        async_to_sync(read)()
        assert (len(booked(account)), len(server.asked)) == (7, 4)


@override_settings(**AN_HOUR)
def test_a_list_that_ends_where_the_database_must_not_be_used_ends_all_the_same(account: OntraportAccount) -> None:
    """What it reserved passes with the window then."""

    async def read() -> None:
        rows = pages_of(account).pages()
        for _ in range(4):
            await sync_to_async(next)(rows)
        rows.close()

    with listing(50) as server:
        async_to_sync(read)()
        assert (len(booked(account)), len(server.asked)) == (7, 4)


@override_settings(**AN_HOUR)
def test_a_list_that_fails_gives_back_what_it_has_not_used(store: str, account: OntraportAccount) -> None:
    def failing(asked: Asked) -> Reply | None:
        return envelope("no list") if "start=4" in asked.path else None

    with listing(50, failing) as server:
        with pytest.raises(OntraportRejected):
            list(pages_of(account))
        assert len(booked(account)) == len(server.asked) == 5


@override_settings(**AN_HOUR)
def test_after_a_429_nothing_that_was_reserved_before_is_used(store: str, account: OntraportAccount) -> None:
    def refusing(asked: Asked) -> Reply | None:
        is_fifth = len(server.asked) == 5
        return Reply(status=429, headers={"X-Rate-Limit-Reset": "1"}) if is_fifth else None

    with listing(9, refusing) as server:
        assert len(list(pages_of(account))) == 9
        assert len(booked(account)) == len(server.asked) == 11


@override_settings(ONTRAPORT_RATE_LIMIT=(32, 3600))
def test_a_list_that_would_have_to_wait_too_long_says_so_and_can_go_on(store: str, account: OntraportAccount) -> None:
    pages = pages_of(account)
    with listing(50) as server:
        with using.patience(5), pytest.raises(OntraportUnavailable, match="used up") as raised:
            list(pages)
        assert (raised.value.code, pages.position, len(server.asked), len(booked(account))) == (
            "rate_limited",
            32,
            32,
            32,
        )
    assert (raised.value.retry_after or 0) > 3500


@override_settings(ONTRAPORT_RATE_LIMIT=(40, 3600))
def test_no_list_reserves_more_than_a_small_share_ahead(account: OntraportAccount) -> None:
    with using.counted_in_memory(), listing(50), closing(pages_of(account).pages()) as rows:
        for number in range(1, 8):
            next(rows)
            assert len(booked(account)) <= number + 1


@override_settings(**AN_HOUR)
def test_a_forked_process_does_not_use_what_its_parent_has_reserved(account: OntraportAccount) -> None:
    with using.counted_in_memory():
        turns = turns_ahead.TurnsAhead(account)
        for _ in range(4):
            with turns.turn(patience=0):
                pass
        assert (len(booked(account)), turns._unused) == (7, 3)
        turns._process = os.getppid()  # as it is in a child
        turns.give_back()
        assert len(booked(account)) == 7
        turns._unused = 3
        with turns.turn(patience=0):
            pass
        assert len(booked(account)) == 15


class Clock:
    """A clock that goes on by itself and can be put forward. Who sleeps by it does not wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        for name in ("monotonic", "time"):
            real = getattr(time, name)
            monkeypatch.setattr(time, name, lambda real=real: real() + self.ahead)
        monkeypatch.setattr(time, "sleep", self.forward)

    def forward(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.mark.parametrize("travel", [0.0, 0.4, 1.5], ids="takes {}".format)
@pytest.mark.parametrize("pause", [0.0, 0.3, 2.0, 70.0], ids="pause {}".format)
@override_settings(ONTRAPORT_RATE_LIMIT=(64, 60), ONTRAPORT_TIMEOUT=(60, 60), ONTRAPORT_RATE_WAIT=90)
def test_at_any_pace_no_minute_has_more_calls_than_are_allowed(
    account: OntraportAccount, monkeypatch: pytest.MonkeyPatch, pause: float, travel: float
) -> None:
    """Ontraport counts a request when it comes, when it is answered, or in between. Every seventh page takes a while on its way, the
    reader rests after every fifth, and others call meanwhile.
    """
    came: list[float] = []
    answered: list[float] = []
    dates: list[float] = []

    def slowly(asked: Asked) -> None:
        came.append(time.monotonic())
        dates.append(time.time())
        if not len(came) % 7:
            clock.forward(travel)
        answered.append(time.monotonic())

    with using.counted_in_memory(), listing(150, slowly) as server:
        clock = Clock(monkeypatch)
        for number, _ in enumerate(pages_of(account)):
            if not number % 5:
                clock.forward(pause)
                account.rest("GET", "objects", params={"range": 1})
        counted = [at / 1000 for at in booked(account)]
        now = time.time()
    assert len(server.asked) == 181
    for times in (came, answered):
        assert all(later - earlier > 60 for earlier, later in zip(times, times[64:], strict=False))
    assert sum(at > now - 59 for at in counted) <= sum(at > now - 62 for at in dates)


def test_a_list_whose_reader_is_slow_has_nothing_reserved_for_long(
    account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who takes a minute for a page, and so cannot use what was reserved with it in time, gets one turn at a time."""
    with using.counted_in_memory(), listing(20), closing(pages_of(account).pages()) as rows:
        clock = Clock(monkeypatch)
        for _ in range(5):
            next(rows)
            clock.forward(60)
            assert len(booked(account)) <= 2


@override_settings(**AN_HOUR)
def test_what_was_reserved_long_ago_is_not_used(account: OntraportAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have used the window up meanwhile."""
    with using.counted_in_memory():
        clock, turns = Clock(monkeypatch), turns_ahead.TurnsAhead(account)
        for _ in range(4):
            with turns.turn(patience=0):
                pass
        assert turns._unused == 3
        clock.forward(4000)
        rate_limiter.reserve(account, patience=0, requests=180)
        with pytest.raises(OntraportUnavailable, match="used up"), turns.turn(patience=0):
            pass


def test_turns_are_for_one_list_each(account: OntraportAccount) -> None:
    """Two threads that read the same list at once reserve for themselves."""
    done: list[int] = []

    def read() -> None:
        try:
            done.append(len(list(pages_of(account).pages())))
        finally:
            connections.close_all()

    with using.counted_in_memory(), listing(20) as server:
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done == [21, 21]
        assert len(booked(account)) == len(server.asked) == 42
