"""The button in a browser that does other things: polls, slow pages and double clicks, on every session engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import include, path

from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.linked import person
from tests.support.pages import ACCOUNTS, CONNECT, text
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

ENGINES = ("db", "cache", "cached_db", "file", "signed_cookies")


class Slow:
    """A page that has read the session and is not done yet, until the test says so."""

    def __init__(self) -> None:
        self.has_read, self.may_end = Event(), Event()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        polled = request.session.get("polled", 0)
        request.user.is_authenticated  # noqa: B018  # reads the session's user
        self.has_read.set()
        self.may_end.wait(20)
        if "write" in request.GET:
            request.session["polled"] = polled + 1
        return HttpResponse("done")


slow = Slow()


@transaction.non_atomic_requests
def slow_page(request: HttpRequest) -> HttpResponse:
    """Without a transaction of its own: on SQLite with ``ATOMIC_REQUESTS`` no other page could begin before this one has ended."""
    return slow(request)


urlpatterns = [path("slow/", slow_page), path("", include("tests.urls"))]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Any) -> Iterator[str]:
    global slow  # noqa: PLW0603  # one page, anew for each test
    slow = Slow()
    name = f"django.contrib.sessions.backends.{request.param}"
    with override_settings(
        **ontraport.settings_for(sandbox.url), SESSION_ENGINE=name, SESSION_FILE_PATH=str(tmp_path), ALLOWED_HOSTS=["*"]
    ):
        yield request.param


@pytest.fixture
def browser(engine: str) -> Client:
    client = Client()
    client.force_login(person("maya"))
    return client


def during_a_slow_page(browser: Client, address: str, then: Callable[[], str]) -> str:
    """Do something while a page is under way in the same browser, whose answer comes last."""
    tab = copy_of(browser)

    def load() -> Any:
        try:
            return tab.get(address)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(load)
        try:
            assert slow.has_read.wait(20)
            done = then()
        finally:
            slow.may_end.set()
        assert answer.result().status_code == 200
    take_cookies(browser, answer.result())
    return done


def copy_of(browser: Client) -> Client:
    """Return a client with the cookies that the browser has now."""
    copy = Client()
    copy.cookies.load({name: morsel.value for name, morsel in browser.cookies.items()})
    return copy


def take_cookies(browser: Client, response: Any) -> None:
    for name, morsel in response.cookies.items():
        browser.cookies[name] = morsel.value


@pytest.mark.parametrize("kind", ["writes the session", "SESSION_SAVE_EVERY_REQUEST"])
def test_who_presses_the_button_while_another_page_is_under_way_links(browser: Client, kind: str) -> None:
    """https://github.com/mozilla/mozilla-django-oidc/issues/435: the page saves the whole session as it was before."""
    query = "?write=1" if kind == "writes the session" else ""
    with override_settings(SESSION_SAVE_EVERY_REQUEST=not query):
        address = f"/slow/{query}"
        url = during_a_slow_page(browser, address, lambda: ontraport.press_connect(browser, next="/next/"))
        assert ontraport.come_back(browser, ontraport.consent(url))["Location"] == "/next/"
    assert OntraportAccount.objects.count() == 1


def test_who_is_at_ontraport_while_another_page_is_under_way_is_linked_once(browser: Client, sandbox: Sandbox) -> None:
    """The page brings the session back as it was while the attempt was open."""
    callback = ontraport.consent(ontraport.press_connect(browser))
    address = "/slow/?write=1"
    first = during_a_slow_page(browser, address, lambda: str(ontraport.come_back(browser, callback)["Location"]))
    again = ontraport.come_back(browser, callback)
    assert (first, again["Location"]) == (ACCOUNTS, "/ontraport/problem/used/")
    assert "already finished this" in text(browser.get(again["Location"]))
    assert sandbox.state()["counts"]["token:authorization_code"] == 1


@pytest.mark.parametrize("last", ["first", "second"])
@pytest.mark.parametrize("wins", ["first", "second"])
def test_a_double_click_links(browser: Client, wins: str, last: str) -> None:
    """Both requests leave with the cookies from before, and either answer may reach the browser last."""
    twins = {name: copy_of(browser) for name in ("first", "second")}
    clicks = {name: twin.post(CONNECT) for name, twin in twins.items()}
    for name in sorted(clicks, key=lambda name: name == last):
        take_cookies(browser, clicks[name])
    callback = ontraport.consent(clicks[wins]["Location"])
    assert ontraport.come_back(browser, callback)["Location"] == ACCOUNTS


def test_tabs_are_finished_in_any_order_and_each_leads_back_to_its_page(browser: Client, sandbox: Sandbox) -> None:
    urls = [ontraport.press_connect(browser, next=f"/tab/{number}/") for number in range(3)]
    for number in (1, 2, 0):
        assert ontraport.come_back(browser, ontraport.consent(urls[number]))["Location"] == f"/tab/{number}/"
    assert OntraportAccount.objects.count() == 1


def test_another_browser_another_person_and_nobody_complete_nothing(browser: Client, sandbox: Sandbox) -> None:
    callback = ontraport.consent(ontraport.press_connect(browser))
    twin = Client()
    twin.force_login(get_user_model().objects.get())
    assert ontraport.come_back(twin, callback)["Location"] == "/ontraport/problem/unknown/"
    browser.force_login(person("tomas"))
    assert ontraport.come_back(browser, callback)["Location"] == "/ontraport/problem/other_owner/"
    browser.cookies[settings.SESSION_COOKIE_NAME] = ""
    assert ontraport.come_back(browser, callback)["Location"] == "/ontraport/problem/signed_out/"
    assert sandbox.state()["counts"]["token:authorization_code"] == 0


def test_of_twenty_copies_of_an_answer_at_once_one_is_exchanged(
    client: Client, sandbox: Sandbox, live_server: Any
) -> None:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        client.force_login(person("maya"))
        callback = urlsplit(ontraport.consent(ontraport.press_connect(client)))
        cookies = {name: morsel.value for name, morsel in client.cookies.items()}
        url = f"{live_server.url}{callback.path}?{callback.query}"
        with ThreadPoolExecutor(20) as threads:
            came = threads.map(
                lambda _: requests.get(url, cookies=cookies, allow_redirects=False, timeout=30), range(20)
            )
            places = sorted(urlsplit(each.headers["Location"]).path for each in came)
    assert places == [ACCOUNTS, *["/ontraport/problem/used/"] * 19]
    assert sandbox.state()["counts"]["token:authorization_code"] == 1
