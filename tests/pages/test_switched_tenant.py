"""Two tabs and two tenants: a form does something for the tenant that it was made for, or for none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings

import ontraport_connect
from ontraport_connect.middleware import RequestAccounts
from ontraport_connect.models import Method, OntraportAccount, OntraportAttempt, OntraportEvent, Status
from tests.support.pages import ACCOUNTS, CONNECT, KEY, linked, text, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unreachable")]

TEMPLATES = Path(ontraport_connect.__file__).parent / "templates" / "ontraport_connect"
FORM = re.compile(r"<form method=\"post\"(?: action=\"([^\"]*)\")?.*?</form>", re.DOTALL)
HIDDEN = re.compile(r"<input type=\"hidden\" name=\"(\w+)\" value=\"([^\"]*)\">")
NORTH, SOUTH = {"X-Tenant": "north"}, {"X-Tenant": "south"}


@pytest.fixture
def tenants(maya: Any) -> Iterator[None]:
    maya.is_superuser = True
    maya.save()
    with override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request"):
        yield


def forms(client: Client, path: str, tenant: str) -> dict[str, dict[str, str]]:
    """Return the hidden fields of each form on a page of ``tenant``, by the address that the form is sent to."""
    return hidden_fields(text(client.get(path, headers={"X-Tenant": tenant})), path)


def hidden_fields(page: str, path: str) -> dict[str, dict[str, str]]:
    return {
        unescape(match[1] or path): {name: unescape(value) for name, value in HIDDEN.findall(match[0])}
        for match in FORM.finditer(page)
    }


def everything(client: Client) -> object:
    return (
        list(OntraportAccount.objects.order_by("pk").values()),
        OntraportEvent.objects.count(),
        OntraportAttempt.objects.count(),
    )


@pytest.fixture
def made_in_north(client: Client, tenants: None, maya: Any) -> dict[str, dict[str, str]]:
    """Every form of the pages, as one tab shows them in the tenant "north"."""
    ended = linked(maya, tenant="north", status=Status.NEEDS_RECONNECT)
    well = linked(maya, tenant="north", method=Method.API_KEY, refresh_token=None)
    found = {
        path: fields
        for page in (ACCOUNTS, CONNECT, f"{CONNECT}?account={ended.uid}", KEY, f"{KEY}?account={well.uid}")
        for path, fields in forms(client, page, "north").items()
    }
    of_account = {url(name, ended) for name in ("reconnect", "rename", "make_default", "disconnect")}
    assert set(found) >= {CONNECT, KEY, *of_account, url("reconnect", well)}
    return found


def test_form_that_was_made_for_another_tenant_does_nothing(
    client: Client, made_in_north: dict[str, dict[str, str]]
) -> None:
    before = everything(client)
    filled = {"label": "mine", "app_id": "2_187157_sandbox", "api_key": "canary-key"}
    for path, fields in made_in_north.items():
        for headers in (SOUTH, {"X-Tenant": "North"}, {}):
            response = client.post(path, {**fields, **filled}, headers=headers)
            page = text(response)
            assert (response.status_code, "ve switched workspaces" in page) == (409, True), (path, headers)
            assert "canary-key" not in page
            assert f'href="{ACCOUNTS}"' in page, "the way on"
            assert "no-store" in response["Cache-Control"]
    assert everything(client) == before


def test_form_does_what_it_says_in_the_tenant_that_it_was_made_for(
    client: Client, made_in_north: dict[str, dict[str, str]]
) -> None:
    disconnect_last = sorted(made_in_north.items(), key=lambda item: "disconnect" in item[0])
    for path, fields in disconnect_last:
        response = client.post(path, {**fields, "label": "renamed"}, headers=NORTH)
        assert response.status_code in {302, 422}, path
    assert not OntraportAccount.objects.exists()


def test_form_without_the_field_goes_on_working(client: Client, tenants: None, maya: Any) -> None:
    """A template of the site's own, or a client of its API."""
    account = linked(maya, tenant="north")
    for fields in ({}, {"made_for": ""}):
        response = client.post(url("rename", account), {**fields, "label": "renamed"}, headers=NORTH)
        assert response.status_code == 302
    assert client.post(url("disconnect", account), headers=NORTH).status_code == 302
    assert not OntraportAccount.objects.exists()


def test_client_of_an_api_is_told_in_json(client: Client, tenants: None, maya: Any) -> None:
    account = linked(maya, tenant="north")
    fields = forms(client, ACCOUNTS, "north")[url("disconnect", account)]
    response = client.post(url("disconnect", account), fields, headers={**SOUTH, "Accept": "application/json"})
    assert (response.status_code, response.json()) == (409, {"error": "tenant_switched"})
    assert OntraportAccount.objects.exists()


def test_no_page_shows_the_id_of_the_tenant(client: Client, tenants: None, maya: Any) -> None:
    linked(maya, tenant="canary-tenant")
    for page in (ACCOUNTS, CONNECT, KEY):
        assert "canary-tenant" not in text(client.get(page, headers={"X-Tenant": "canary-tenant"}))


def test_forms_of_personal_links_have_no_such_field(client: Client, maya: Any) -> None:
    linked(maya, status=Status.NEEDS_RECONNECT)
    for page in (ACCOUNTS, CONNECT, KEY):
        assert "made_for" not in text(client.get(page))


def test_form_of_a_tenant_does_nothing_after_the_site_has_no_tenants_any_more(
    client: Client, made_in_north: dict[str, dict[str, str]]
) -> None:
    with override_settings(ONTRAPORT_TENANT=None):
        assert client.post(CONNECT, made_in_north[CONNECT]).status_code == 409


def test_every_form_of_the_pages_names_the_tenant_that_it_is_made_for() -> None:
    sources = {file.name: file.read_text() for file in TEMPLATES.glob("*.html")}
    counts = {
        name: (source.count('<form method="post"'), source.count('include "ontraport_connect/made_for.html"'))
        for name, source in sources.items()
    }
    assert sum(count for count, _ in counts.values()) >= 8
    assert {name: count for name, count in counts.items() if count[0] != count[1]} == {}


def test_button_names_the_tenant_that_it_is_made_for(client: Client, tenants: None, maya: Any) -> None:
    request = RequestFactory(headers=NORTH).get("/page/")
    request.user, request.session = maya, client.session
    request.ontraport = RequestAccounts(request)  # type: ignore[attr-defined]
    template = Template("{% load ontraport_connect %}{% connect_ontraport %}")
    fields = hidden_fields(template.render(Context({"request": request})), "/page/")[CONNECT]
    assert client.post(CONNECT, fields, headers=SOUTH).status_code == 409
    assert client.post(CONNECT, fields, headers=NORTH).status_code == 302


@override_settings(ALLOWED_HOSTS=["*"])
def test_start_on_another_host_takes_along_which_tenant_it_is_for(client: Client, tenants: None) -> None:
    """The session of that host is another, and the person may have chosen another workspace in it."""
    fields = forms(client, CONNECT, "north")[CONNECT]
    with override_settings(ONTRAPORT_REDIRECT_URI="https://shop.example.com/ontraport/callback/"):
        location = client.post(CONNECT, fields, headers={**NORTH, "host": "www.shop.example.com"})["Location"]
        assert location.startswith("https://shop.example.com/ontraport/connect/?")
        there = location.removeprefix("https://shop.example.com")
        assert client.get(there, headers={**NORTH, "host": "shop.example.com"}).status_code == 200
        response = client.get(there, headers={**SOUTH, "host": "shop.example.com"})
    assert (response.status_code, "ve switched workspaces" in text(response)) == (409, True)
