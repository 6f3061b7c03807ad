"""All processes of a site together stay within the rate limit of each Ontraport account."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import override_settings

from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount, OntraportBudget
from ontraport_connect.using import rate_limiter, rate_store, rate_window
from tests.support import ontraport
from tests.support.linked import key_account, person
from tests.support.servers import Sandbox, Valkey

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["database", "plain database", "redis"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a test with each store: the database, one that has no UPDATE … RETURNING, and Redis."""
    if request.param != "redis":
        if request.param == "plain database":
            monkeypatch.setattr(type(connection.features), "can_return_columns_from_insert", False)
        yield request.param
        return
    valkey = request.getfixturevalue("valkey")
    with override_settings(ONTRAPORT_REDIS_URL=valkey.url):
        yield "redis"
    rate_store._redis_store.cache_clear()


def account_of(ontraport_id: str = "187157") -> OntraportAccount:
    return OntraportAccount(ontraport_id=ontraport_id)


def waits(account: OntraportAccount, times: int) -> list[float]:
    return [rate_limiter.reserve(account, patience=1000).wait for _ in range(times)]


@override_settings(ONTRAPORT_RATE_LIMIT=(3, 60))
def test_calls_wait_in_line_once_the_window_is_full(store: str) -> None:
    first, second = waits(account_of(), 6), waits(account_of("204211"), 1)
    assert first[:3] == [0, 0, 0]
    assert all(60 < wait <= 61 for wait in first[3:])
    assert second == [0]
    assert 121 < waits(account_of(), 1)[0] <= 122


@override_settings(ONTRAPORT_RATE_LIMIT=(3, 60))
def test_links_to_one_ontraport_account_share_what_it_allows() -> None:
    waits(account_of(), 3)
    assert waits(OntraportAccount(ontraport_id="187157", label="linked by somebody else"), 1)[0] > 60


def test_an_account_of_unknown_number_is_counted_by_itself() -> None:
    with override_settings(ONTRAPORT_RATE_LIMIT=(1, 60)):
        assert waits(account_of(""), 1) == waits(account_of(""), 1) == [0]


@override_settings(ONTRAPORT_RATE_LIMIT=(3, 60))
def test_a_caller_that_cannot_wait_is_told_when_to_come_back_and_takes_no_turn(store: str) -> None:
    waits(account_of(), 3)
    for _ in range(5):
        with pytest.raises(OntraportUnavailable) as raised:
            rate_limiter.reserve(account_of(), patience=5)
        assert raised.value.code == "rate_limited"
        assert 60 < (raised.value.retry_after or 0) <= 61
    assert waits(account_of(), 1)[0] <= 61


@override_settings(ONTRAPORT_RATE_LIMIT=(4, 60))
def test_several_requests_are_taken_at_once() -> None:
    assert rate_limiter.reserve(account_of(), patience=0, requests=3).wait == 0
    assert 60 < rate_limiter.reserve(account_of(), patience=100, requests=3).wait <= 61
    assert rate_limiter.reserve(account_of("204211"), patience=0, requests=9).wait == 0


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 0.3))
def test_a_turn_is_waited_for_and_what_lies_back_is_forgotten() -> None:
    started = time.monotonic()
    for _ in range(3):
        with rate_limiter.Turns(account_of()).turn(patience=5):
            pass
    assert time.monotonic() - started >= 0.6
    assert len(rate_window.State.read(OntraportBudget.objects.get().state).calls) <= 2


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 0.2))
def test_a_call_that_took_long_counts_from_its_end(store: str) -> None:
    """Ontraport may count a request at any time until it has answered."""
    account = account_of()
    with rate_limiter.Turns(account).turn(patience=1):
        deadline = threading.Event()
        deadline.wait(0.25)
    assert rate_limiter.reserve(account, patience=1).wait > 0.15


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 0.2))
def test_a_caller_in_the_queue_behind_a_late_call_waits_as_much_longer(store: str) -> None:
    late = rate_limiter.reserve(account_of(), patience=1)
    behind = rate_limiter.reserve(account_of(), patience=1)
    threading.Event().wait(behind.wait)
    rate_limiter.settle(late)
    assert 0.15 < rate_limiter.confirm(behind).wait <= 0.21


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 60))
def test_a_turn_that_is_put_off_for_too_long_is_given_back(store: str) -> None:
    """After a 429 with a long pause, callers in the queue get an error instead of sleeping that long."""
    rate_limiter.reserve(account_of(), patience=0)
    turn = rate_limiter.reserve(account_of(), patience=100)
    rate_limiter.hold(account_of(), 900)
    with pytest.raises(OntraportUnavailable) as raised:
        rate_limiter.confirm(turn)
    assert (raised.value.code, 890 < (raised.value.retry_after or 0) <= 900) == ("rate_limited", True)
    assert waits(account_of(), 1)[0] <= 900


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 0.05))
def test_a_turn_that_was_forgotten_meanwhile_is_settled_without_a_trace(store: str) -> None:
    turn = rate_limiter.reserve(account_of(), patience=1)
    threading.Event().wait(0.1)
    rate_limiter.reserve(account_of(), patience=1)
    rate_limiter.settle(turn)
    assert rate_limiter.reserve(account_of(), patience=1).wait <= 0.06


def test_nobody_calls_before_ontraport_said_so(store: str) -> None:
    rate_limiter.hold(account_of(), 30)
    rate_limiter.hold(account_of(), 10)
    assert 29 < waits(account_of(), 1)[0] <= 30


@override_settings(ONTRAPORT_RATE_LIMIT=(50, 60))
def test_concurrent_callers_do_not_take_the_same_turn(store: str) -> None:
    def take(_: int) -> float:
        try:
            return rate_limiter.reserve(account_of(), patience=1000).wait
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        waited = sorted(threads.map(take, range(60)))
    assert waited[49] == 0
    assert waited[50] > 50


@pytest.mark.parametrize("rolls_back", [True, False])
def test_a_page_that_rolls_back_has_called_all_the_same(rolls_back: bool) -> None:
    with override_settings(ONTRAPORT_RATE_LIMIT=(1, 60)), transaction.atomic():
        waits(account_of(), 1)
        transaction.set_rollback(rolls_back)
    counted = OntraportBudget.objects.count()
    assert counted == (0 if rolls_back and connection.vendor == "sqlite" else 1)


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 60))
def test_the_database_counts_while_redis_is_away(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    """The warning is logged once, and again only after Redis has answered."""
    with override_settings(ONTRAPORT_REDIS_URL=valkey.url):
        store = rate_store.redis_store()
        assert store is not None
        valkey.stop()
        assert waits(account_of(), 1) == [0]
        assert store.rests()
        assert waits(account_of(), 1)[0] > 30
        store._rests_until = 0
        assert waits(account_of("2"), 1) == [0]
        assert [record.message for record in caplog.records] == [
            "Redis does not answer (ConnectionError); calls are counted in the database."
        ]
        valkey.start()
        store._rests_until = 0
        assert waits(account_of(), 1) == [0]
        valkey.stop()
        assert waits(account_of("3"), 1) == [0]
    assert len(caplog.records) == 2
    rate_store._redis_store.cache_clear()


MINUTES = 60_000


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 60))
@pytest.mark.parametrize("held", [False, True])
def test_a_clock_that_is_put_back_holds_nobody_for_longer(held: bool) -> None:
    """The store's clock was ten minutes ahead, and has been corrected."""
    if held:
        rate_limiter.hold(account_of(), 30)
    else:
        waits(account_of(), 1)
    row = OntraportBudget.objects.get()
    state = rate_window.State.read(row.state)
    ahead = replace(
        state,
        calls=tuple(at + 10 * MINUTES for at in state.calls),
        until=state.until + 10 * MINUTES if held else 0,
        seen=state.seen + 10 * MINUTES,
    )
    OntraportBudget.objects.update(state=ahead.write())
    for _ in range(2):
        with pytest.raises(OntraportUnavailable) as raised:
            rate_limiter.reserve(account_of(), patience=5)
        assert 25 < (raised.value.retry_after or 0) <= 61
    now = rate_store.DatabaseStore().load("account:187157").now
    assert abs(rate_window.State.read(OntraportBudget.objects.get().state).seen - now) < MINUTES


def test_a_clock_that_seems_to_jitter_is_not_believed_to_be_put_back() -> None:
    state = rate_window.State(calls=(5000,), until=6000, seen=5000)
    assert state.as_of(4500) == replace(state, seen=4500)


def test_an_answer_is_not_lost_for_want_of_counting_it(caplog: pytest.LogCaptureFixture) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("the database system is shutting down")

    with connection.execute_wrapper(away):
        rate_limiter.hold(account_of(), 5)
        assert rate_limiter.throttle("keys:1", most=1, seconds=60) == 0
        with pytest.raises(OntraportUnavailable) as raised:
            rate_limiter.reserve(account_of(), patience=1)
    assert raised.value.code == "database"
    assert "could not be counted" in caplog.text


def test_the_row_is_known_by_its_account() -> None:
    waits(account_of(), 1)
    assert str(OntraportBudget.objects.get()) == "account:187157"


@pytest.mark.parametrize("name", ["change-notices", "notices", "refreshes"])
def test_an_account_that_is_called_like_a_row_of_the_site_s_own_touches_no_such_row(name: str) -> None:
    """The id comes from Ontraport. One that spoils what is remembered between two rounds of e-mails would stop them."""
    OntraportBudget.objects.create(key=name, state='{"after": 7}')
    waits(account_of(name), 1)
    assert OntraportBudget.objects.get(pk=name).state == '{"after": 7}'


def test_the_longest_key_fits_the_row() -> None:
    waits(account_of("9" * 40), 1)
    assert OntraportBudget.objects.get().state


READER = """
import django, itertools, os, sys
django.setup()
from ontraport_connect.models import OntraportAccount
account = OntraportAccount.objects.get()
start = int(sys.argv[1])
pages = account.rest_pages("objects", objectID=0, start=start)
print(*[contact["id"] for contact in itertools.islice(pages, 500)])
"""


@pytest.mark.parametrize("store", ["database", "redis"], indirect=True)
def test_four_processes_fetch_two_thousand_contacts_within_the_limit(
    store: str, sandbox: Sandbox, child_environ: Any, request: pytest.FixtureRequest
) -> None:
    """Scaled down: twenty requests in two seconds instead of 180 in a minute."""
    sandbox.set(contacts=2000, rate_limit=20, rate_window=2)
    key_account(person("maya"))
    redis = {"ONTRAPORT_REDIS_URL": request.getfixturevalue("valkey").url} if store == "redis" else {}
    environ = child_environ(**ontraport.settings_for(sandbox.url), **redis, ONTRAPORT_RATE_LIMIT=(20, 2))
    started = time.monotonic()
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(start)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for start in range(0, 2000, 500)
    ]
    answers = [reader.communicate(timeout=60) for reader in readers]
    assert [error.decode() for _, error in answers if error] == []
    ids = [int(number) for output, _ in answers for number in output.split()]
    assert sorted(ids) == list(range(1, 2001))
    counts = sandbox.state()["counts"]
    assert (counts["rest"], counts["rate_limited"]) == (40, 0)
    assert time.monotonic() - started > 2


def test_a_caller_that_finds_the_window_full_waits_for_the_next() -> None:
    """With the default settings, a job that calls without pause waits for the next window and goes on."""
    rate_limiter.reserve(account_of(), patience=0, requests=180)
    assert 60 < rate_limiter.reserve(account_of(), patience=conf.ONTRAPORT_RATE_WAIT).wait <= 61
