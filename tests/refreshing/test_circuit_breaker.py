"""The circuit breaker: whether this site may call the token endpoint, in one row that all processes share."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportService
from ontraport_connect.protocol import PRESETS
from ontraport_connect.refreshing import RATE_LIMITED, batches, circuit_breaker, client_settings, one_account
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = OntraportMisconfigured("Ontraport refuses this site as a client.", code="invalid_client")


def slow_down(seconds: float | None) -> OntraportUnavailable:
    return OntraportUnavailable("Ontraport asks to slow down.", code=RATE_LIMITED, retry_after=seconds)


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
    assert circuit_breaker.enter() is True
    with pytest.raises(OntraportUnavailable):
        circuit_breaker.enter()
    circuit_breaker.release()
    assert circuit_breaker.enter() is False


def test_a_shorter_pause_does_not_cut_a_longer_one_short(strict: StrictServer) -> None:
    for seconds in (100.0, 5.0):
        circuit_breaker.hold(slow_down(seconds))
    with pytest.raises(OntraportUnavailable) as raised:
        circuit_breaker.enter()
    assert (raised.value.retry_after or 0) > 90


def test_a_pause_without_an_end_is_probed(strict: StrictServer) -> None:
    OntraportService.objects.create(pk=1, hold_code=RATE_LIMITED)
    assert circuit_breaker.enter() is True


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


def test_a_wrong_setting_is_not_told_as_a_refusal_of_the_client() -> None:
    circuit_breaker.hold(OntraportMisconfigured("ONTRAPORT_CA_BUNDLE is not a file.", code="ca_bundle"))
    with pytest.raises(OntraportMisconfigured, match=r"A setting of this site is wrong \(ca_bundle\)"):
        circuit_breaker.enter()


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
        assert (token_of(other), read(nameless).failures) == ("a.two.1", 0)
        batches.refresh_batch([nameless.pk])
    assert (read(nameless).failures, read(nameless).status) == (1, "connected")


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


def test_a_breaker_that_somebody_else_has_closed_is_closed_without_a_word() -> None:
    circuit_breaker.site_standing()
    circuit_breaker.release()
    assert not OntraportEvent.objects.exists()


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
        {"authorization_endpoint": "https://o.example/a", "token_endpoint": "https://["},
    ],
)
def test_endpoints_that_are_not_complete_are_the_operators_to_mend(endpoints: Any) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints), pytest.raises(OntraportError, match="ONTRAPORT_ENDPOINTS"):
        client_settings.endpoints()


def test_an_endpoint_that_is_none_is_left_out() -> None:
    given = {"issuer": None, "authorization_endpoint": "https://o.example/a", "token_endpoint": "https://o.example/t"}
    with override_settings(ONTRAPORT_ENDPOINTS=given):
        assert client_settings.endpoints().issuer is None


def test_one_account_alone_is_put_off_and_a_site_with_more_links_goes_on(strict: StrictServer) -> None:
    accounts = [linked(name) for name in ("one", "two", "three", "four")]
    for answer in (
        {"status": 429, "headers": {"Retry-After": "3600"}},
        {"status": 400, "members": {"error": "unauthorized_client"}},
    ):
        strict.behave("one", **answer)
        with pytest.raises(OntraportError):
            one_account.refresh(read(accounts[0]))
        assert circuit_breaker.enter() is False
        row = read(accounts[0])
        assert (row.status, row.refresh_at > timezone.now()) == ("connected", True)
    for account in accounts[1:]:
        one_account.refresh(account)
    assert strict.dead == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 429}, "rate_limited"),
        ({"status": 400, "members": {"error": "unauthorized_client"}}, "unauthorized_client"),
    ],
)
def test_what_three_accounts_are_told_one_after_the_other_is_meant_for_the_site(
    strict: StrictServer, answer: dict[str, Any], code: str
) -> None:
    accounts = [linked(name) for name in ("one", "two", "three", "four")]
    strict.behave(**answer)
    for account in (accounts[0], accounts[0], accounts[1]):
        with pytest.raises(OntraportError):
            one_account.refresh(account)
    assert circuit_breaker.may_refresh()
    with pytest.raises(OntraportError):
        one_account.refresh(accounts[2])
    assert (circuit_breaker.site_standing().hold_code, strict.requests) == (code, 4)
    with pytest.raises(OntraportError):
        one_account.refresh(accounts[3])
    assert strict.requests == 4
    strict.behave()
    let_time_pass()
    one_account.refresh(accounts[3])
    assert circuit_breaker.site_standing().hold_code == ""
    assert circuit_breaker.site_standing().strikes == ""


def test_an_account_that_is_refreshed_in_between_starts_the_count_anew(strict: StrictServer) -> None:
    accounts = [linked(name) for name in ("one", "two", "three", "four", "well")]
    strict.behave(status=429)
    strict.behave("well")
    for account in (accounts[0], accounts[1]):
        with pytest.raises(OntraportUnavailable):
            one_account.refresh(account)
    one_account.refresh(accounts[4])
    for account in (accounts[2], accounts[3]):
        with pytest.raises(OntraportUnavailable):
            one_account.refresh(account)
    assert circuit_breaker.may_refresh()


def test_answers_long_apart_are_not_counted_together(strict: StrictServer) -> None:
    accounts = [linked(name) for name in ("one", "two", "three", "four")]
    strict.behave(status=429)
    for account in accounts[:2]:
        with pytest.raises(OntraportUnavailable):
            one_account.refresh(account)
    row = circuit_breaker.site_standing()
    strikes = json.loads(row.strikes)
    strikes["rate_limited"]["first"] = (timezone.now() - timedelta(minutes=11)).isoformat()
    OntraportService.objects.update(strikes=json.dumps(strikes))
    with pytest.raises(OntraportUnavailable):
        one_account.refresh(accounts[2])
    assert circuit_breaker.may_refresh()


def test_a_deploy_with_another_provider_ends_a_handful_and_no_more(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The brake: the grants of five accounts that were well end one after the other, and nobody was refreshed in between."""
    pks = [linked(f"g{number}").pk for number in range(40)]
    strict.behave(status=400, members={"error": "invalid_grant"})
    with override_settings(ONTRAPORT_REFRESH_CONCURRENCY=4):
        batches.refresh_batch(pks)
    marked = OntraportAccount.objects.filter(status="needs_reconnect")
    assert (marked.count(), circuit_breaker.site_standing().hold_code) == (4, circuit_breaker.MANY_ENDED)
    assert [record.levelno for record in caplog.records if "--reconsider" in record.getMessage()] == [logging.CRITICAL]
    with pytest.raises(OntraportMisconfigured, match="reconsider"):
        one_account.refresh(read(OntraportAccount(pk=pks[39])))
    strict.behave()
    let_time_pass()
    assert batches.refresh_batch(pks) == {"refreshed": 36}
    assert strict.dead == []


def test_who_ended_five_links_on_a_site_that_is_well_stops_nobody(strict: StrictServer) -> None:
    ending = [linked(f"g{number}") for number in range(6)]
    well = linked("well")
    strict.behave(status=400, members={"error": "invalid_grant"})
    strict.behave("well")
    for number, account in enumerate(ending):
        if number == 3:
            one_account.refresh(well)
        with pytest.raises(ReconnectRequired):
            one_account.refresh(account)
    assert circuit_breaker.may_refresh()
    assert OntraportAccount.objects.filter(status="needs_reconnect").count() == 6


def test_an_operator_who_says_that_the_grants_have_ended_is_believed(strict: StrictServer) -> None:
    pks = [linked(f"g{number}").pk for number in range(8)]
    strict.behave(status=400, members={"error": "invalid_grant"})
    batches.refresh_batch(pks)
    assert not circuit_breaker.may_refresh()
    circuit_breaker.believe_ended_grants()
    batches.refresh_batch(pks)
    assert OntraportAccount.objects.filter(status="needs_reconnect").count() == 8
    assert circuit_breaker.may_refresh()


@pytest.mark.parametrize("number", [3, 40])
def test_an_operator_who_reconsiders_before_the_cause_is_mended_marks_no_more_links(
    strict: StrictServer, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether every account of the site is told so, or the few whose customers have let go: those hold up nobody."""
    pks = [linked(f"g{each}").pk for each in range(40)]
    for each in range(number):
        strict.behave(f"g{each}", status=400, members={"error": "invalid_grant"})
    batches.refresh_batch(pks)
    call_command("ontraport", "refresh", "--reconsider")
    assert ("stays paused" in capsys.readouterr().out) == (number > 4)
    batches.refresh_batch(pks)
    assert OntraportAccount.objects.filter(status="needs_reconnect").count() <= 4
    for each in range(number):
        strict.behave(f"g{each}")
    let_time_pass()
    batches.refresh_batch(pks)
    assert circuit_breaker.may_refresh()


def test_an_operator_is_believed_also_after_a_probe_has_closed_the_breaker(strict: StrictServer) -> None:
    circuit_breaker.believe_ended_grants()
    circuit_breaker.hold(REFUSED)
    circuit_breaker.release()
    strict.behave(status=400, members={"error": "invalid_grant"})
    for account in [linked(f"g{number}") for number in range(7)]:
        with pytest.raises(ReconnectRequired):
            one_account.refresh(account)
        assert read(account).status == "needs_reconnect"
    assert circuit_breaker.may_refresh()


def test_a_probe_of_a_grant_that_has_ended_leaves_the_next_account_to_tell(strict: StrictServer) -> None:
    accounts = [linked(f"g{number}") for number in range(4)]
    circuit_breaker.hold(REFUSED)
    let_time_pass()
    for number in range(3):
        strict.behave(f"g{number}", status=400, members={"error": "invalid_grant"})
    batches.refresh_batch([account.pk for account in accounts])
    assert (token_of(accounts[3]), circuit_breaker.enter()) == ("a.g3.1", False)


def test_probes_of_many_grants_that_have_ended_stop_at_the_brake(strict: StrictServer) -> None:
    accounts = [linked(f"g{number}") for number in range(8)]
    circuit_breaker.hold(REFUSED)
    let_time_pass()
    strict.behave(status=400, members={"error": "invalid_grant"})
    batches.refresh_batch([account.pk for account in accounts])
    assert (strict.requests, circuit_breaker.site_standing().hold_code) == (5, circuit_breaker.MANY_ENDED)


def ten_minutes_pass() -> None:
    row = OntraportService.objects.get()
    strikes = json.loads(row.strikes)
    for each in strikes.values():
        each["first"] = (datetime.fromisoformat(each["first"]) - timedelta(minutes=11)).isoformat()
    OntraportService.objects.update(strikes=json.dumps(strikes))


def test_a_wrong_deploy_that_lasts_for_an_hour_ends_no_more_links(strict: StrictServer) -> None:
    accounts = [linked(f"g{number}") for number in range(12)]
    strict.behave(status=400, members={"error": "invalid_grant"})
    batches.refresh_batch([account.pk for account in accounts])
    for _ in range(12):
        let_time_pass()
        ten_minutes_pass()
        batches.refresh_batch([account.pk for account in accounts])
    assert OntraportAccount.objects.filter(status="needs_reconnect").count() == 4


def test_a_customer_whose_grants_have_ended_does_not_take_the_probe_from_others(strict: StrictServer) -> None:
    healthy, *ended = [linked(f"g{number}") for number in range(6)]
    for number in range(1, 6):
        strict.behave(f"g{number}", status=400, members={"error": "invalid_grant"})
    for account in ended:
        with pytest.raises((ReconnectRequired, OntraportMisconfigured)):
            one_account.refresh(account)
    let_time_pass()
    with pytest.raises(OntraportMisconfigured):
        one_account.refresh(read(ended[-1]))
    one_account.refresh(read(healthy))
    assert (token_of(healthy), circuit_breaker.site_standing().hold_code) == ("a.g0.1", "")


def test_an_account_that_has_just_failed_leaves_the_probe_to_others(strict: StrictServer) -> None:
    """A customer who is suspended at Ontraport has a page open that asks each second."""
    suspended, well = linked("suspended"), linked("well")
    strict.behave("suspended", status=500)
    circuit_breaker.hold(OntraportUnavailable("Too many.", code=RATE_LIMITED, retry_after=60))
    for _ in range(3):
        let_time_pass()
        with pytest.raises(OntraportUnavailable):
            one_account.refresh(read(suspended))
    one_account.refresh(well)
    assert (circuit_breaker.may_refresh(), strict.requests) == (True, 2)


def test_an_account_whose_token_is_refused_waits_as_long_as_it_was_told(strict: StrictServer) -> None:
    account = linked("one", expires_in=3600)
    strict.behave(status=429)
    for _ in range(5):
        with pytest.raises(OntraportUnavailable):
            one_account.replace_refused(read(account))
    assert strict.requests == 1


@pytest.mark.parametrize("behaviour", [{"delay": 1.5}, {"status": 504}], ids=["too late", "a gateway's"])
@override_settings(ONTRAPORT_TIMEOUT=(1, 1), ONTRAPORT_REFRESH_CONCURRENCY=4)
def test_while_answers_do_not_come_one_token_is_risked_and_not_all(
    strict: StrictServer, behaviour: dict[str, Any]
) -> None:
    """What is sent then may be spent, and its answer is lost: twenty links are due, and Ontraport answers too late, or a gateway for it."""
    accounts = [linked(f"g{number}") for number in range(20)]
    pks = [account.pk for account in accounts]
    strict.behave(**behaviour)
    assert sum(batches.refresh_batch(pks).values()) == strict.requests <= 10
    sent = strict.requests
    assert sum(batches.refresh_batch(pks).values()) == strict.requests - sent == 1
    strict.behave()
    assert batches.refresh_batch(pks)["refreshed"] == 20 - sent - 1
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()


@override_settings(ONTRAPORT_TIMEOUT=(1, 1))
def test_a_few_answers_that_do_not_come_hold_up_nobody(strict: StrictServer) -> None:
    pks = [linked(f"g{number}").pk for number in range(12)]
    for number in range(4):
        strict.behave(f"g{number}", delay=1.5)
    assert batches.refresh_batch(pks) == {"timeout": 4, "refreshed": 8}
