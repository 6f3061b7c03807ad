"""The cookie by which a browser is known in which an attempt was started."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.signals import user_logged_out
from django.contrib.auth.views import LogoutView
from django.test import Client, RequestFactory, override_settings
from django.urls import include, path

from ontraport_connect.models import OntraportAccount
from ontraport_connect.pages import browsers
from ontraport_connect.pages.browsers import COOKIE
from tests.support.callbacks import assert_refused, come_back, good, out_of_reach, press
from tests.support.hostile_server import HostileServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

urlpatterns = [path("", include("tests.urls")), path("sign-out/", LogoutView.as_view(next_page="/"))]


@override_settings(
    SESSION_COOKIE_SECURE=True, SESSION_COOKIE_DOMAIN="shop.example", SESSION_COOKIE_PATH="/shop/", ALLOWED_HOSTS=["*"]
)
def test_the_cookie_goes_where_the_session_cookie_goes_and_says_nothing(ontraport: HostileServer, maya: Any) -> None:
    browser = Client(headers={"host": "shop.example"})
    browser.force_login(maya)
    press(browser)
    cookie = browser.cookies[COOKIE]
    assert (cookie["domain"], cookie["path"], cookie["secure"]) == ("shop.example", "/shop/", True)
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 3600)
    assert re.fullmatch("[0-9a-f]{64}", cookie.value)


@pytest.mark.parametrize("value", ["", "x", "0" * 63, "0" * 65, "Z" * 64, '"', "0" * 64 + "\n"])
def test_a_cookie_that_is_none_of_ours_is_replaced(browser: Client, ontraport: HostileServer, value: str) -> None:
    browser.cookies[COOKIE] = value
    sent = press(browser)
    assert re.fullmatch("[0-9a-f]{64}", browser.cookies[COOKIE].value)
    assert come_back(browser, good(ontraport, sent))["Location"] == "/ontraport/"


def test_the_cookie_of_a_request_without_a_session_cookie_is_random() -> None:
    request = RequestFactory().get("/")
    assert len({browsers.browser_to_start(request) for _ in range(3)}) == 3


def test_signing_out_ends_what_was_started_before_in_this_browser(
    browser: Client, ontraport: HostileServer, maya: Any
) -> None:
    other = Client()
    other.force_login(maya)
    sent, elsewhere = press(browser), press(other)
    browser.post("/sign-out/")
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "signed_out")
    browser.force_login(maya)
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "unknown")
    assert come_back(other, good(ontraport, elsewhere))["Location"] == "/ontraport/"


def test_nobody_stays_signed_in_because_attempts_cannot_be_ended(browser: Client, ontraport: HostileServer) -> None:
    press(browser)
    with out_of_reach("ontraportattempt"):
        browser.post("/sign-out/")
    assert "/login/" in browser.get("/ontraport/")["Location"]


def test_signing_out_without_an_attempt_asks_the_database_nothing(
    browser: Client, ontraport: HostileServer, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        user_logged_out.send(sender=None, request=RequestFactory().get("/"), user=None)
        user_logged_out.send(sender=None, request=None, user=None)
    assert not OntraportAccount.objects.exists()
