"""Attempts between the button and the callback: expiry, single use, bounds, session stores, and database failures."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db.models import F
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect.linking import attempts, forget_old_attempts
from ontraport_connect.linking.attempts import MAX_OF_BROWSER
from ontraport_connect.models import OntraportAccount, OntraportAttempt, OntraportRevocation
from ontraport_connect.pages.browsers import COOKIE
from tests.support.callbacks import assert_refused, come_back, good, out_of_reach, paths, press
from tests.support.hostile_server import HostileServer, black_hole

pytestmark = pytest.mark.django_db(transaction=True)
BACKENDS = ("db", "cache", "cached_db", "signed_cookies")


def pass_time(amount: timedelta) -> None:
    OntraportAttempt.objects.update(started_at=F("started_at") - amount)


@pytest.mark.parametrize("age", [timedelta(minutes=10, seconds=1), timedelta(minutes=19)])
def test_an_attempt_ends_after_ten_minutes(browser: Client, ontraport: HostileServer, age: timedelta) -> None:
    sent = press(browser)
    pass_time(age)
    forget_old_attempts()
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "expired")


def test_an_attempt_lives_for_ten_minutes(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    pass_time(timedelta(minutes=9, seconds=30))
    forget_old_attempts()
    assert come_back(browser, good(ontraport, sent))["Location"] == "/ontraport/"


def test_an_attempt_counts_once_and_whoever_comes_again_reads_so(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    come_back(browser, good(ontraport, sent))
    response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["used"])
    assert "You&#x27;ve already finished this" in browser.get(response["Location"]).content.decode()
    assert paths(ontraport) == ["/token"]
    other = Client()
    other.force_login(get_user_model().objects.get())
    response = come_back(other, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["unknown"])


def test_attempts_are_forgotten_when_they_could_not_be_completed_any_more(
    browser: Client, ontraport: HostileServer
) -> None:
    old, used = press(browser), press(browser)
    come_back(browser, good(ontraport, used))
    pass_time(timedelta(minutes=20, seconds=1))
    new = press(browser)
    forget_old_attempts()
    assert str(OntraportAttempt.objects.get()).startswith("started ")
    for sent in (old, used):
        response = come_back(browser, good(ontraport, sent))
        assert response["Location"] == reverse("ontraport_connect:problem", args=["unknown"])
    assert come_back(browser, good(ontraport, new))["Location"] == "/ontraport/"


def test_a_round_of_refreshes_forgets_them(browser: Client, ontraport: HostileServer) -> None:
    press(browser)
    pass_time(timedelta(hours=1))
    call_command("ontraport", "refresh", "--all", stdout=StringIO(), stderr=StringIO())
    assert not OntraportAttempt.objects.exists()


def test_several_tabs_work_in_any_order(browser: Client, ontraport: HostileServer) -> None:
    tabs = [press(browser, next=f"/tab/{number}/") for number in range(4)]
    for number in (2, 0, 3, 1):
        assert come_back(browser, good(ontraport, tabs[number]))["Location"] == f"/tab/{number}/"
    assert paths(ontraport) == ["/token"] * 4


def test_of_many_attempts_the_last_eight_of_a_browser_are_kept(browser: Client, ontraport: HostileServer) -> None:
    tabs = [press(browser) for _ in range(10)]
    assert OntraportAttempt.objects.count() == MAX_OF_BROWSER
    assert_refused(come_back(browser, good(ontraport, tabs[1])), ontraport, "unknown")
    assert come_back(browser, good(ontraport, tabs[2]))["Location"] == reverse("ontraport_connect:accounts")


def test_used_attempts_take_no_room_from_those_that_are_open(browser: Client, ontraport: HostileServer) -> None:
    first = press(browser)
    for _ in range(MAX_OF_BROWSER):
        come_back(browser, {"error": "access_denied", "state": press(browser), "iss": ontraport.url})
    assert come_back(browser, good(ontraport, first))["Location"] == "/ontraport/"


def test_attempts_of_one_person_are_bounded_whatever_their_browser_says(
    ontraport: HostileServer, maya: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that makes a cookie up for each request is a new browser each time."""
    monkeypatch.setattr(attempts, "MAX_OF_PERSON", 4)
    tomas = get_user_model().objects.create_user("tomas")
    for user in (tomas, maya):
        for number in range(7):
            client = Client()
            client.force_login(user)
            client.cookies[COOKIE] = f"{number:064}"
            press(client)
    assert OntraportAttempt.objects.count() == 8


def test_an_attempt_that_another_version_of_this_app_kept_is_unknown(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    row = OntraportAttempt.objects.get()
    row.values = json.dumps({**json.loads(row.values), "added": "later"})
    row.save()
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "unknown")


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_session_store_serves(ontraport: HostileServer, maya: Any, backend: str) -> None:
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{backend}"):
        browser = Client()
        browser.force_login(maya)
        sent = press(browser)
        unknown = come_back(browser, good(ontraport, "a" * 43))
        assert_refused(unknown, ontraport, "unknown")
        come_back(browser, good(ontraport, sent))
        assert OntraportAccount.objects.exists()
        assert come_back(browser, good(ontraport, sent))["Location"] == reverse(
            "ontraport_connect:problem", args=["used"]
        )
        assert paths(ontraport) == ["/token"]


def test_what_is_stored_shows_neither_state_nor_verifier_nor_the_browsers_cookie(
    browser: Client, ontraport: HostileServer
) -> None:
    sent = press(browser, next="/campaigns/")
    (row,) = OntraportAttempt.objects.values()
    come_back(browser, good(ontraport, sent))
    verifier = dict(parse_qsl(ontraport.requests[-1].partition(b"\r\n\r\n")[2].decode()))["code_verifier"]
    for secret in (sent, verifier, base64.b64encode(verifier.encode()).decode(), browser.cookies[COOKIE].value):
        assert secret not in str(row)


def test_a_long_next_is_kept(browser: Client, ontraport: HostileServer) -> None:
    there = "/" + "a" * 1800
    assert come_back(browser, good(ontraport, press(browser, next=there)))["Location"] == there


def test_fifty_answers_at_once_are_one_exchange(browser: Client, ontraport: HostileServer, live_server: Any) -> None:
    parameters = good(ontraport, press(browser))
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()}

    def come(number: int) -> requests.Response:
        return requests.get(
            f"{live_server.url}{reverse('ontraport_connect:callback')}",
            params=parameters,
            cookies=cookies,
            allow_redirects=False,
            timeout=30,
        )

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(come, range(50)))
    assert {each.status_code for each in answers} == {302}
    assert paths(ontraport) == ["/token"]
    assert OntraportAccount.objects.count() == 1


@pytest.fixture
def broken(request: pytest.FixtureRequest) -> Iterator[None]:
    """Some tables out of reach, as after a migration that was forgotten."""
    with out_of_reach(*request.param):
        yield


@pytest.mark.parametrize("broken", [["ontraportevent"]], indirect=True)
def test_a_grant_that_could_not_be_saved_is_revoked_and_the_customer_gets_a_page(
    browser: Client, ontraport: HostileServer, caplog: pytest.LogCaptureFixture, broken: None
) -> None:
    response = come_back(browser, good(ontraport, press(browser)))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["failed"])
    assert paths(ontraport) == ["/token", "/revoke"]
    assert b"token=canary-refresh" in ontraport.requests[-1]
    assert "Linking failed" in caplog.text
    assert "canary" not in caplog.text


def test_a_grant_is_kept_for_revocation_while_nobody_can_tell_whether_it_is_shared(
    browser: Client, ontraport: HostileServer, maya: Any
) -> None:
    account = OntraportAccount.objects.create(user=maya)
    asked = browser.post(reverse("ontraport_connect:reconnect", args=[account.uid]))["Location"]
    sent = dict(parse_qsl(urlsplit(asked).query))["state"]
    with out_of_reach("ontraportaccount"):
        response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["failed"])
    assert paths(ontraport) == ["/token"]
    assert OntraportRevocation.objects.get().refresh_token.reveal().startswith("canary-refresh")


@pytest.mark.parametrize("table", ["ontraportattempt", "ontraportrevocation"])
def test_a_database_that_fails_before_the_exchange_keeps_the_code_here(
    browser: Client, ontraport: HostileServer, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = press(browser)
    with out_of_reach(table):
        assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "failed")
    assert "canary" not in caplog.text


def test_an_exchange_that_hangs_ends_on_a_page(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    ontraport.behaviour = black_hole
    with override_settings(ONTRAPORT_TIMEOUT=(0.2, 0.3)):
        response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["unavailable"])
    assert not OntraportAccount.objects.exists()
    assert not OntraportRevocation.objects.exists()
