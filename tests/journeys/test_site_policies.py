"""Sites with a policy of their own: sign-in for every view, and a Content-Security-Policy for forms."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as site_settings
from django.test import Client, override_settings

from ontraport_connect.models import OntraportAccount, Status
from tests.support import ontraport
from tests.support.linked import person
from tests.support.pages import ACCOUNTS, CONNECT, KEY, linked, text, url
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("at_sandbox")]

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
EVERYWHERE = [
    name
    for each in site_settings.MIDDLEWARE
    for name in ([each, "django.contrib.auth.middleware.LoginRequiredMiddleware"] if each == AUTHENTICATION else [each])
]


@pytest.fixture
def at_sandbox(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    user = person("maya")
    client.force_login(user)
    return user


@pytest.fixture
def signed_in_everywhere() -> Iterator[None]:
    """A site with Django's LoginRequiredMiddleware."""
    with override_settings(MIDDLEWARE=EVERYWHERE):
        yield


def test_a_site_where_every_view_needs_a_login_links(
    client: Client, maya: Any, sandbox: Sandbox, signed_in_everywhere: None
) -> None:
    assert ontraport.link(client, sandbox)["Location"] == ACCOUNTS
    assert OntraportAccount.objects.get().status == Status.CONNECTED


def test_its_client_document_is_public(client: Client, signed_in_everywhere: None) -> None:
    assert client.get("/ontraport/client.json").json()["client_name"] == "127.0.0.1:8000"


def test_who_was_signed_out_while_at_ontraport_reads_so_and_the_code_is_in_no_other_address(
    client: Client, maya: Any, sandbox: Sandbox, signed_in_everywhere: None
) -> None:
    callback = ontraport.consent(ontraport.press_connect(client))
    client.logout()
    response = ontraport.come_back(client, callback)
    assert response["Location"] == "/ontraport/problem/signed_out/"
    assert response["Referrer-Policy"] == "no-referrer"
    page = client.get(response["Location"])
    assert "re signed out" in text(page)
    for name, value in [part.split("=") for part in urlsplit(callback).query.split("&")]:
        assert name == "iss" or value not in text(page)
    assert not OntraportAccount.objects.exists()


@pytest.mark.parametrize("page", [ACCOUNTS, CONNECT, KEY])
def test_its_other_pages_need_a_login(client: Client, signed_in_everywhere: None, page: str) -> None:
    assert urlsplit(client.get(page)["Location"]).path == "/admin/login/"


@pytest.mark.parametrize("action", ["reconnect", "rename", "make_default", "disconnect"])
def test_who_was_signed_out_when_pressing_a_button_is_not_led_to_an_address_that_is_posted_only(
    maya: Any, signed_in_everywhere: None, action: str
) -> None:
    assert Client().post(url(action, linked(maya)))["Location"] == "/admin/login/"


def led_to(page: Any) -> set[str]:
    """Return where a page leads, by itself and by its one link."""
    refresh = re.search(r'<meta http-equiv="refresh" content="0; url=([^"]*)">', text(page))
    link = re.search(r'<a [^>]*href="([^"]*)"', text(page))
    assert refresh
    assert link
    return {html.unescape(refresh[1]), html.unescape(link[1])}


def test_a_browser_is_led_to_ontraport_by_a_page_that_no_policy_for_forms_stops(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    """Chromium applies form-action to the redirects of a form, too; a browser says by a header that it is one."""
    account = linked(maya, status=Status.NEEDS_RECONNECT)
    location = ""
    for address in (CONNECT, url("reconnect", account)):
        page = client.post(address, headers={"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"})
        assert page.status_code == 200
        (location,) = led_to(page)
        assert location.startswith(f"{sandbox.url}/oauth/authorize?")
        assert page["Referrer-Policy"] == "no-referrer"
        assert "no-store" in page["Cache-Control"]
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=", text(page))
    response = ontraport.come_back(client, ontraport.consent(location))
    assert response["Location"] == ACCOUNTS


def test_a_client_that_is_no_browser_is_redirected(client: Client, maya: Any, sandbox: Sandbox) -> None:
    for headers in ({}, {"sec-fetch-mode": "cors"}):
        response = client.post(CONNECT, headers=headers)
        assert response.status_code == 302
        assert response["Location"].startswith(f"{sandbox.url}/oauth/authorize?")


def test_scripts_that_submit_forms_leave_those_to_ontraport_alone(client: Client, maya: Any, sandbox: Sandbox) -> None:
    """https://github.com/bigskysoftware/htmx/issues/2442, https://github.com/hotwired/turbo/issues/45: no script may follow there."""
    linked(maya, status=Status.NEEDS_RECONNECT)
    linked(maya, method="api_key", label="By key")
    for page in (CONNECT, ACCOUNTS):
        shown = text(client.get(page))
        around = re.findall(r'<section ([^>]*class="ontraport-card"[^>]*)>(.*?)</section>', shown, re.DOTALL)
        leaving = [attributes for attributes, inside in around if re.search(r'action="[^"]*/(re)?connect/"', inside)]
        assert leaving
        assert all('data-turbo="false" hx-boost="false"' in attributes for attributes in leaving)
    told = client.post(CONNECT, headers={"hx-request": "true"})
    assert (told.status_code, told["Referrer-Policy"]) == (200, "no-referrer")
    assert ontraport.come_back(client, ontraport.consent(told["HX-Redirect"]))["Location"] == ACCOUNTS


def test_a_browser_that_started_on_another_host_is_led_there_by_a_page(client: Client, maya: Any) -> None:
    page = client.post(CONNECT, headers={"host": "localhost:8000", "sec-fetch-mode": "navigate"})
    assert led_to(page) == {"http://127.0.0.1:8000/ontraport/connect/"}
