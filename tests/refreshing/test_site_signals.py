"""Other code learns, once a change, that Ontraport refuses this site, and that it accepts it again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal

from ontraport_connect import refreshing
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportAccount, OntraportEvent
from ontraport_connect.refreshing import RATE_LIMITED, circuit_breaker
from ontraport_connect.refreshing.strikes import GRANT_ENDED
from ontraport_connect.signals import account_needs_reconnect, account_refreshed, site_accepted, site_refused
from tests.refreshing.test_circuit_breaker import REFUSED, let_time_pass
from tests.support.accounts import linked
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard() -> Iterator[list[tuple[str, str]]]:
    """Each signal, by its name and code. A receiver before ours raises."""
    found: list[tuple[str, str]] = []
    receivers: list[tuple[Signal, Any]] = []

    def listen(name: str, signal: Signal) -> None:
        def broken(**values: Any) -> None:
            raise LookupError("no pager")

        def receiver(code: str, **values: Any) -> None:
            found.append((name, code))

        receivers.extend([(signal, broken), (signal, receiver)])

    listen("refused", site_refused)
    listen("accepted", site_accepted)
    for signal, receiver in receivers:
        signal.connect(receiver)
    yield found
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def test_a_refusal_is_told_once_and_so_is_its_end(strict: StrictServer, heard: list[tuple[str, str]]) -> None:
    strict.behave(status=401, members={"error": "invalid_client"})
    accounts = [linked(name) for name in ("one", "two", "three")]
    for account in accounts:
        with pytest.raises(OntraportMisconfigured):
            refreshing.refresh(account)
    assert heard == [("refused", "invalid_client")]
    strict.behave()
    let_time_pass()
    for account in accounts:
        refreshing.refresh(account)
    assert heard == [("refused", "invalid_client"), ("accepted", "invalid_client")]
    assert OntraportEvent.objects.count() == 2


def test_it_is_told_from_inside_a_transaction_that_is_rolled_back(
    strict: StrictServer, heard: list[tuple[str, str]]
) -> None:
    strict.behave(status=401, members={"error": "invalid_client"})
    account = linked("one")
    with pytest.raises(OntraportMisconfigured), transaction.atomic():
        refreshing.refresh(account)
    assert heard == [("refused", "invalid_client")]


def test_a_pause_that_ontraport_asked_for_is_no_refusal(strict: StrictServer, heard: list[tuple[str, str]]) -> None:
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=60))
    circuit_breaker.release()
    assert heard == []


def test_another_reason_is_another_change(strict: StrictServer, heard: list[tuple[str, str]]) -> None:
    circuit_breaker.hold(REFUSED)
    circuit_breaker.hold(OntraportMisconfigured("not https", code="insecure"))
    assert heard == [("refused", "invalid_client"), ("refused", "insecure")]


def test_many_ended_grants_are_told_and_so_is_the_operators_answer(
    strict: StrictServer, heard: list[tuple[str, str]]
) -> None:
    circuit_breaker.hold(ReconnectRequired("ended", code=GRANT_ENDED))
    refreshing.reconsider()
    refreshing.reconsider()
    assert heard == [("refused", "many_grants_ended"), ("accepted", "many_grants_ended")]


class Slow(logging.Handler):
    """Code of the site that takes its time: others' answers come meanwhile. Keeps which accounts were saved when it was called."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        self()

    def __call__(self, **values: Any) -> None:
        time.sleep(0.5)
        self.seen.append(OntraportAccount.objects.exclude(refreshed_at=None).count())


@pytest.mark.parametrize("how", ["receiver", "log handler"])
def test_who_takes_long_to_be_told_of_one_account_holds_no_answer_of_others(strict: StrictServer, how: str) -> None:
    pks = [linked(f"g{number}").pk for number in range(6)]
    strict.behave("g0", status=400, members={"error": "invalid_grant"})
    for number in range(1, 6):
        strict.behave(f"g{number}", delay=0.2)
    slow = Slow()
    log = logging.getLogger("ontraport_connect")
    if how == "receiver":
        account_needs_reconnect.connect(slow)
    else:
        log.addHandler(slow)
    try:
        assert refreshing.refresh_batch(pks) == {"invalid_grant": 1, "refreshed": 5}
    finally:
        account_needs_reconnect.disconnect(slow)
        log.removeHandler(slow)
    assert slow.seen == [5]


def test_a_line_of_the_log_says_when_and_where_it_was_written(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    strict.behave(status=400, members={"error": "invalid_grant"})
    refreshing.refresh_batch([linked("one").pk, linked("two").pk])
    lines = [record for record in caplog.records if "needs to be reconnected" in record.getMessage()]
    assert [(line.name, line.filename, line.funcName) for line in lines] == [
        ("ontraport_connect", "outcomes.py", "_mark")
    ] * 2


def test_who_presses_ctrl_c_twice_waits_for_no_more_receivers(strict: StrictServer) -> None:
    pks = [linked(f"g{number}").pk for number in range(5)]
    told: list[str] = []

    def receive(account: OntraportAccount, **values: Any) -> None:
        told.append(account.access_token.reveal())
        raise KeyboardInterrupt

    account_refreshed.connect(receive)
    try:
        with pytest.raises(KeyboardInterrupt):
            refreshing.refresh_batch(pks)
    finally:
        account_refreshed.disconnect(receive)
    assert len(told) == 2
    assert OntraportAccount.objects.exclude(refreshed_at=None).count() == 5
