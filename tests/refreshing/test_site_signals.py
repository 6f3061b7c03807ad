"""Other code learns, once a change, that Ontraport refuses this site, and that it accepts it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal

from ontraport_connect import refreshing
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportEvent
from ontraport_connect.refreshing import RATE_LIMITED, circuit_breaker
from ontraport_connect.refreshing.strikes import GRANT_ENDED
from ontraport_connect.signals import site_accepted, site_refused
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
