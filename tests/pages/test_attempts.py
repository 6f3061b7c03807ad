"""Attempts between the button and the callback: expiry, single use, session stores, and database failures."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect.linking.attempts import CLOCK_SKEW, LIFETIME, MAX_ATTEMPTS, SESSION_KEY, forget_used_states
from ontraport_connect.models import OntraportAccount, OntraportRevocation, OntraportUsedState
from tests.support.callbacks import assert_refused, come_back, good, move, paths, press
from tests.support.hostile_server import HostileServer, black_hole

pytestmark = pytest.mark.django_db(transaction=True)
BACKENDS = ("db", "cache", "cached_db", "signed_cookies")


@pytest.mark.parametrize("seconds", [-601, -6000, 3600])
def test_an_attempt_ends_after_ten_minutes(browser: Client, ontraport: HostileServer, seconds: float) -> None:
    sent = press(browser)
    attempts = browser.session[SESSION_KEY]
    attempts[sent]["started"] = time.time() + seconds
    move(attempts, browser)
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "expired")


def test_the_clock_of_another_web_server_may_be_a_little_behind(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    attempts = browser.session[SESSION_KEY]
    attempts[sent]["started"] = time.time() + CLOCK_SKEW - 5
    move(attempts, browser)
    assert come_back(browser, good(ontraport, sent))["Location"] == "/ontraport/"


def test_an_attempt_counts_once_even_when_the_session_comes_back(browser: Client, ontraport: HostileServer) -> None:
    """A cookie session can be replayed by anyone who has a copy of it."""
    sent = press(browser)
    kept = browser.session[SESSION_KEY]
    come_back(browser, good(ontraport, sent))
    move(kept, browser)
    response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["used"])
    assert paths(ontraport) == ["/token"]


def test_used_states_are_forgotten_when_they_could_not_come_back_any_more(
    browser: Client, ontraport: HostileServer
) -> None:
    come_back(browser, good(ontraport, press(browser)))
    forget_used_states()
    used = OntraportUsedState.objects.get()
    assert str(used).startswith("used ")
    OntraportUsedState.objects.update(at=used.at - timedelta(seconds=2 * LIFETIME + 1))
    forget_used_states()
    assert not OntraportUsedState.objects.exists()


def test_several_tabs_work_in_any_order(browser: Client, ontraport: HostileServer) -> None:
    tabs = [press(browser, next=f"/tab/{number}/") for number in range(4)]
    for number in (2, 0, 3, 1):
        assert come_back(browser, good(ontraport, tabs[number]))["Location"] == f"/tab/{number}/"
    assert paths(ontraport) == ["/token"] * 4


def test_of_many_attempts_the_last_eight_are_kept(browser: Client, ontraport: HostileServer) -> None:
    tabs = [press(browser) for _ in range(10)]
    assert len(browser.session[SESSION_KEY]) == MAX_ATTEMPTS
    assert_refused(come_back(browser, good(ontraport, tabs[1])), ontraport, "unknown")
    assert come_back(browser, good(ontraport, tabs[2]))["Location"] == reverse("ontraport_connect:accounts")


def test_an_attempt_that_another_version_of_this_app_kept_is_unknown(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    attempts = browser.session[SESSION_KEY]
    attempts[sent]["added"] = "later"
    move(attempts, browser)
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
            "ontraport_connect:problem", args=["unknown"]
        )
        assert paths(ontraport) == ["/token"]


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
def test_a_session_cookie_is_small_and_holds_nothing_secret(ontraport: HostileServer, maya: Any) -> None:
    browser = Client()
    browser.force_login(maya)
    for number in range(12):
        press(browser, next=f"/campaigns/{number}/" + hashlib.sha256(str(number).encode()).hexdigest() * 8)
    cookie = browser.cookies["sessionid"].value
    assert len(cookie) < 4000
    payload = cookie.split(":")[0]
    raw = base64.urlsafe_b64decode(payload.lstrip(".") + "===")
    readable = (zlib.decompress(raw) if payload.startswith(".") else raw).decode()
    attempts = json.loads(readable)[SESSION_KEY]
    sent = max(attempts, key=lambda key: attempts[key]["started"])
    come_back(browser, good(ontraport, sent))
    verifier = dict(parse_qsl(ontraport.requests[-1].partition(b"\r\n\r\n")[2].decode()))["code_verifier"]
    for secret in (verifier, base64.b64encode(verifier.encode()).decode(), "canary"):
        assert secret not in readable


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
def test_a_session_cookie_stays_small_after_a_problem(ontraport: HostileServer, maya: Any) -> None:
    browser = Client()
    browser.force_login(maya)
    longest = ["/" + "".join(hashlib.sha256(f"{kind}{n}".encode()).hexdigest() for n in range(22)) for kind in "ab"]
    sent = press(browser, next=longest[0])
    for _ in range(MAX_ATTEMPTS - 1):
        press(browser)
    come_back(browser, {"error": "access_denied", "state": sent, "iss": ontraport.url})
    press(browser, next=longest[1])
    assert len(browser.cookies["sessionid"].value) < 4000


def test_a_next_that_is_too_long_to_keep_is_forgotten_and_the_attempt_is_not(
    browser: Client, ontraport: HostileServer
) -> None:
    assert come_back(browser, good(ontraport, press(browser, next="/" + "a" * 1800)))["Location"] == "/ontraport/"


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


@contextmanager
def out_of_reach(*models: str) -> Iterator[None]:
    names = [f"ontraport_connect_{name}" for name in models]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    yield
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


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
    browser: Client, ontraport: HostileServer
) -> None:
    sent = press(browser)
    with out_of_reach("ontraportaccount"):
        response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["failed"])
    assert paths(ontraport) == ["/token"]
    assert OntraportRevocation.objects.get().refresh_token.reveal().startswith("canary-refresh")


@pytest.mark.parametrize("broken", [["ontraportusedstate"], ["ontraportrevocation"]], indirect=True)
def test_a_database_that_fails_before_the_exchange_keeps_the_code_here(
    browser: Client, ontraport: HostileServer, broken: None
) -> None:
    assert_refused(come_back(browser, good(ontraport, press(browser))), ontraport, "failed")


def test_an_exchange_that_hangs_ends_on_a_page(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    ontraport.behaviour = black_hole
    with override_settings(ONTRAPORT_TIMEOUT=(0.2, 0.3)):
        response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["unavailable"])
    assert not OntraportAccount.objects.exists()
    assert not OntraportRevocation.objects.exists()
