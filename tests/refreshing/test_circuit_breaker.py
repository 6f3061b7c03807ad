"""Whether this site may knock at the token endpoint: one row that all processes share."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import EventKind, OntraportEvent, OntraportService
from ontraport_connect.protocol import PRESETS
from ontraport_connect.refreshing import circuit_breaker, client_settings, one_account
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = OntraportMisconfigured("Ontraport refuses this site as a client.", code="invalid_client")


def slow_down(seconds: float | None) -> OntraportUnavailable:
    return OntraportUnavailable("Ontraport asks to slow down.", code=circuit_breaker.RATE_LIMITED, retry_after=seconds)


def let_time_pass() -> None:
    OntraportService.objects.update(held_until=timezone.now() - timedelta(seconds=1))


def test_without_a_hold_everybody_enters(strict: StrictServer) -> None:
    assert circuit_breaker.may_refresh()
    assert circuit_breaker.enter() is False
    circuit_breaker.site_standing()
    assert circuit_breaker.enter() is False


@pytest.mark.parametrize(("asked", "waits"), [(7.0, 7.0), (None, circuit_breaker.PROBE_AFTER)])
def test_a_429_stops_everybody_for_as_long_as_was_asked(
    strict: StrictServer, asked: float | None, waits: float
) -> None:
    circuit_breaker.hold(slow_down(asked))
    with pytest.raises(OntraportUnavailable) as raised:
        circuit_breaker.enter()
    assert waits - 2 < (raised.value.retry_after or 0) <= waits
    assert not circuit_breaker.may_refresh()
    let_time_pass()
    assert circuit_breaker.may_refresh()
    assert circuit_breaker.enter() is False


def test_a_shorter_pause_does_not_cut_a_longer_one_short(strict: StrictServer) -> None:
    for seconds in (100.0, 5.0):
        circuit_breaker.hold(slow_down(seconds))
    with pytest.raises(OntraportUnavailable) as raised:
        circuit_breaker.enter()
    assert (raised.value.retry_after or 0) > 90


def test_a_pause_without_an_end_is_over(strict: StrictServer) -> None:
    OntraportService.objects.create(pk=1, hold_code=circuit_breaker.RATE_LIMITED)
    assert circuit_breaker.enter() is False


def test_a_refused_client_is_said_once_and_loudly(strict: StrictServer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        circuit_breaker.hold(REFUSED)
    said = [record.levelno for record in caplog.records if record.name == "ontraport_connect"]
    assert said == [logging.CRITICAL]
    assert circuit_breaker.is_site_refused()
    assert [event.kind for event in OntraportEvent.objects.all()] == [EventKind.MISCONFIGURED]
    with pytest.raises(OntraportMisconfigured, match="ONTRAPORT_CLIENT_SECRET"):
        circuit_breaker.enter()
    assert not circuit_breaker.may_refresh()


def test_a_pause_does_not_hide_a_refusal(strict: StrictServer) -> None:
    circuit_breaker.hold(REFUSED)
    circuit_breaker.hold(slow_down(1.0))
    assert circuit_breaker.site_standing().hold_code == "invalid_client"


def test_one_probe_a_minute_finds_out_whether_the_client_is_accepted_again(strict: StrictServer) -> None:
    circuit_breaker.hold(REFUSED)
    let_time_pass()
    assert circuit_breaker.may_refresh()
    assert circuit_breaker.enter() is True
    assert not circuit_breaker.may_refresh()
    with pytest.raises(OntraportMisconfigured):
        circuit_breaker.enter()


def test_a_changed_secret_is_tried_at_once(strict: StrictServer) -> None:
    circuit_breaker.hold(REFUSED)
    with override_settings(ONTRAPORT_CLIENT_SECRET="mended"):
        assert circuit_breaker.may_refresh()
        assert circuit_breaker.enter() is True


def test_a_wrong_secret_touches_no_account_and_heals_by_itself(strict: StrictServer) -> None:
    account, other = linked("one"), linked("two")
    strict.behave(status=401, members={"error": "invalid_client"})
    for each in (account, other, account):
        with pytest.raises(OntraportMisconfigured):
            one_account.refresh(each)
    assert strict.requests == 1
    assert read(account).last_error == read(other).last_error == ""
    strict.behave()
    let_time_pass()
    one_account.refresh(account)
    one_account.refresh(other)
    assert (token_of(account), token_of(other)) == ("a.one.1", "a.two.1")
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["misconfigured", "mended"]


def test_an_account_that_names_no_client_stops_nobody_else(strict: StrictServer) -> None:
    with override_settings(ONTRAPORT_CLIENT_ID=None):
        nameless, other = linked("one"), linked("two", client_id="https://site.example/client.json")
        with pytest.raises(OntraportMisconfigured, match="names no client"):
            one_account.refresh(nameless)
        one_account.refresh(other)
    assert (token_of(other), read(nameless).failures) == ("a.two.1", 1)


def test_the_standing_is_made_once(strict: StrictServer) -> None:
    assert circuit_breaker.site_standing().pk == circuit_breaker.site_standing().pk == 1


def test_who_makes_the_standing_at_the_same_moment_finds_the_others(strict: StrictServer) -> None:
    first = iter([True])

    def make_it_after_the_look(execute: Any, *args: Any) -> Any:
        result = execute(*args)
        if next(first, False):
            OntraportService.objects.create(pk=1, hold_code="theirs")
        return result

    with connection.execute_wrapper(make_it_after_the_look):
        assert circuit_breaker.site_standing().hold_code == "theirs"


def test_a_preset_is_chosen_by_name() -> None:
    with override_settings(ONTRAPORT_ENDPOINTS="guide"):
        assert client_settings.endpoints() == PRESETS["guide"]


@pytest.mark.parametrize(
    "endpoints",
    [
        "nowhere",
        {"token_endpoint": "https://ontraport.example/token"},
        {"authorization_endpoint": "https://o.example/a", "token_endpoint": "https://o.example/t", "typo": "x"},
        {"authorization_endpoint": "https://o.example/a", "token_endpoint": 5},
    ],
)
def test_endpoints_that_are_not_complete_are_the_operators_to_mend(endpoints: Any) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints), pytest.raises(OntraportError, match="ONTRAPORT_ENDPOINTS"):
        client_settings.endpoints()


def test_an_endpoint_that_is_none_is_left_out() -> None:
    given = {"issuer": None, "authorization_endpoint": "https://o.example/a", "token_endpoint": "https://o.example/t"}
    with override_settings(ONTRAPORT_ENDPOINTS=given):
        assert client_settings.endpoints().issuer is None
