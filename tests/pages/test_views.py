"""The pages: their texts, access control and headers."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse
from django.utils.formats import localize

from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.linking import Owner
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.pages import editing
from ontraport_connect.refreshing import circuit_breaker
from tests.support.pages import ACCOUNTS, CONNECT, KEY, linked, text, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unreachable")]

ACTIONS = ("reconnect", "rename", "make_default", "disconnect")
SCRIPT = "<script src=\"{% static 'ontraport_connect/ontraport.js' %}\" defer></script>"
PAGES = [ACCOUNTS, CONNECT, KEY, "/ontraport/problem/denied/"]


@pytest.mark.parametrize("page", PAGES)
@override_settings(X_FRAME_OPTIONS="SAMEORIGIN", SECURE_REFERRER_POLICY="no-referrer")
def test_no_page_is_cached_framed_or_told_to_other_sites_whatever_the_site_does(
    client: Client, maya: Any, page: str
) -> None:
    headers = client.get(page).headers
    assert "no-store" in headers["Cache-Control"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("page", PAGES[:3])
def test_who_is_signed_out_is_sent_to_sign_in_and_back(client: Client, page: str) -> None:
    response = client.get(page)
    assert (response.status_code, urlsplit(response["Location"]).path) == (302, "/admin/login/")
    assert parse_qs(urlsplit(response["Location"]).query)["next"] == [page]


@pytest.mark.parametrize("action", ACTIONS)
def test_who_is_signed_out_when_pressing_a_button_comes_back_to_where_the_buttons_are(
    client: Client, maya: Any, action: str
) -> None:
    account = linked(maya)
    signed_out = Client()
    response = signed_out.post(url(action, account), {"label": "Other", "next": "/orders/"})
    assert parse_qs(urlsplit(response["Location"]).query)["next"] == [ACCOUNTS]
    signed_out.force_login(maya)
    assert "Shop" in text(signed_out.get(ACCOUNTS))


@pytest.mark.parametrize(
    ("pressed", "next_url", "back"),
    [
        (CONNECT, "/orders/?page=2", f"{CONNECT}?next=%2Forders%2F%3Fpage%3D2"),
        (CONNECT, "", CONNECT),
        (CONNECT, "https://elsewhere.example/", CONNECT),
        (KEY, "/orders/", f"{KEY}?next=%2Forders%2F"),
        (f"{KEY}?next=%2Ffirst%2F", "", f"{KEY}?next=%2Ffirst%2F"),
    ],
)
def test_who_is_signed_out_when_connecting_comes_back_to_that_page_and_loses_no_next(
    client: Client, maya: Any, pressed: str, next_url: str, back: str
) -> None:
    response = Client().post(pressed, {"next": next_url, "app_id": "2_1_a", "api_key": "a-key-to-find"})
    assert parse_qs(urlsplit(response["Location"]).query)["next"] == [back]
    page = client.get(back)
    assert page.status_code == 200
    assert page.context["next"] == (parse_qs(urlsplit(back).query).get("next") or [""])[0]


@pytest.mark.parametrize("page", PAGES[:3])
def test_pages_answer_only_the_methods_that_they_have(client: Client, maya: Any, page: str) -> None:
    assert client.head(page).status_code == 200
    assert client.delete(page).status_code == 405


@pytest.mark.parametrize("action", ACTIONS)
def test_what_changes_something_is_posted_with_a_csrf_token(maya: Any, action: str) -> None:
    account = linked(maya)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(maya)
    assert strict.get(url(action, account)).status_code == 405
    assert strict.post(url(action, account)).status_code == 403
    assert OntraportAccount.objects.filter(pk=account.pk, label="Shop", is_default=False).exists()


@pytest.mark.parametrize("action", ACTIONS)
def test_who_opens_the_address_of_a_form_has_a_way_on(client: Client, maya: Any, action: str) -> None:
    """A reload by hand, or a browser that restores its pages, asks with GET for what was posted."""
    address = url(action, linked(maya))
    response = client.get(address)
    page = text(response)
    assert (response.status_code, response["Allow"], client.head(address).status_code) == (405, "POST", 405)
    assert "This address only works from a button" in page
    assert '<a class="ontraport-action ontraport-primary" href="/ontraport/">See your accounts</a>' in page
    signed_out = Client().get(address)
    assert parse_qs(urlsplit(signed_out["Location"]).query)["next"] == ["/ontraport/"]
    assert client.delete(address)["Allow"] == "POST"


@pytest.mark.parametrize("action", ACTIONS)
def test_an_account_of_somebody_else_is_not_found_and_not_changed(client: Client, maya: Any, action: str) -> None:
    sam = get_user_model().objects.create_user("sam")
    account = linked(sam)
    assert client.post(url(action, account), {"label": "mine"}).status_code == 404
    assert client.get(f"{KEY}?account={account.uid}").status_code == 404
    assert "Shop" not in text(client.get(f"{CONNECT}?account={account.uid}"))
    assert OntraportAccount.objects.filter(pk=account.pk, label="Shop", is_default=False).exists()


def test_the_accounts_page_says_how_each_link_is_doing_in_words(client: Client, maya: Any) -> None:
    account = linked(maya, ontraport_id="187157")
    linked(maya, label="Waiting", failures=2, last_error="timeout")
    linked(maya, label="Unreadable", failures=1, last_error="secret_unreadable")
    linked(maya, label="Ended", status=Status.NEEDS_RECONNECT, last_error="invalid_grant")
    linked(maya, label="Key", method=Method.API_KEY, status=Status.NEEDS_RECONNECT, last_error="key_refused")
    OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.record(account, EventKind.REFRESH_FAILING, "http_503")
    OntraportEvent.record(account, EventKind.MENDED, "something_new")
    page = text(client.get(ACCOUNTS))
    for words in (
        "187157",
        localize(account.linked_at.date()),
        "It still works",
        "use this connection right now.",
        "Reconnect needed",
        "Enter a new key",
        "Renewal failed, retrying",
        "Ontraport had a problem",
        "site accepted again",
    ):
        assert words in page, words
    assert "something_new" not in page


def test_a_site_that_ontraport_refuses_says_that_it_is_its_own_turn(client: Client, maya: Any) -> None:
    linked(maya)
    circuit_breaker.hold(OntraportUnavailable("slow down", code="rate_limited", retry_after=60))
    assert "Something on our side" not in text(client.get(ACCOUNTS))
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    assert "Something on our side" in text(client.get(ACCOUNTS))
    with override_settings(ONTRAPORT_CLIENT_SECRET="another"):
        assert "Something on our side" not in text(client.get(ACCOUNTS))


def test_the_history_ends_somewhere(client: Client, maya: Any) -> None:
    account = linked(maya)
    for _ in range(12):
        OntraportEvent.record(account, EventKind.RECONNECTED)
    assert text(client.get(ACCOUNTS)).count("Reconnected") == 10


def queries_of(client: Client) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(ACCOUNTS).status_code == 200
    return len(queries)


def test_two_hundred_links_cost_as_many_queries_as_one_and_nothing_is_decrypted(client: Client, maya: Any) -> None:
    OntraportEvent.record(linked(maya), EventKind.LINKED)
    client.get(ACCOUNTS)
    one = queries_of(client)
    for number in range(199):
        OntraportEvent.record(linked(maya, label=f"Shop {number}"), EventKind.LINKED)
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=["another key, with which none of the rows can be decrypted"]):
        assert queries_of(client) == one
        assert "Shop 198" in text(client.get(ACCOUNTS))


def test_an_account_is_renamed_and_may_lose_its_name(client: Client, maya: Any) -> None:
    account = linked(maya, ontraport_id="187157")
    page = client.post(url("rename", account), {"label": "  The shop "}, follow=True)
    assert "Renamed to The shop." in text(page)
    page = client.post(url("rename", account), {"label": ""}, follow=True)
    assert "Renamed to Ontraport 187157." in text(page)


@pytest.mark.parametrize("label", ["x" * 101, "two\nlines", "turned \u202e round", "a\x00b"])
def test_a_name_that_would_deceive_or_not_fit_is_refused(client: Client, maya: Any, label: str) -> None:
    account = linked(maya)
    page = client.post(url("rename", account), {"label": label}, follow=True)
    assert 'role="alert"' in text(page)
    account.refresh_from_db()
    assert account.label == "Shop"


def test_a_name_is_shown_as_text(client: Client, maya: Any) -> None:
    linked(maya, label="<b>&")
    assert "<b>&" not in text(client.get(ACCOUNTS)).replace("&lt;b&gt;&amp;", "")


def test_one_account_is_the_default_and_the_others_are_not(client: Client, maya: Any) -> None:
    first, second = linked(maya, is_default=True), linked(maya, label="Second")
    others = linked(get_user_model().objects.create_user("sam"), is_default=True)
    assert "Second is now the default." in text(client.post(url("make_default", second), follow=True))
    defaults = OntraportAccount.objects.filter(is_default=True)
    assert set(defaults) == {second, others}
    editing.make_default(Owner(user=maya, tenant=None), first)
    assert first.is_default
    assert set(defaults.all()) == {first, others}


@pytest.mark.django_db(transaction=True)
def test_of_many_who_choose_a_default_at_once_one_wins(maya: Any) -> None:
    accounts = [linked(maya, label=str(number)) for number in range(3)]
    owner = Owner(user=maya, tenant=None)

    def choose(account: OntraportAccount) -> None:
        try:
            editing.make_default(owner, account)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(choose, accounts * 20))
    assert OntraportAccount.objects.filter(is_default=True).count() == 1


@pytest.mark.parametrize("page", [KEY, "/ontraport/callback/"])
def test_what_calls_ontraport_holds_no_transaction_of_the_request(page: str) -> None:
    assert vars(resolve(page).func)["_non_atomic_requests"] == {"default"}


def test_disconnecting_goes_back_to_where_it_was_asked(client: Client, maya: Any) -> None:
    account = linked(maya, method=Method.API_KEY, refresh_token=None)
    response = client.post(url("disconnect", account), {"next": "/admin/"})
    assert response["Location"] == "/admin/"
    again = linked(maya, method=Method.API_KEY, refresh_token=None)
    response = client.post(url("disconnect", again), {"next": "https://evil.example/"}, follow=True)
    assert response.redirect_chain == [(ACCOUNTS, 302)]
    assert f'Disconnected Shop. <a href="{CONNECT}">Connect again</a>' in text(response)
    assert not OntraportAccount.objects.exists()


def test_disconnecting_one_of_several_says_that_ontraport_keeps_the_access(client: Client, maya: Any) -> None:
    account, last = linked(maya, ontraport_id="7"), linked(maya, ontraport_id="7", tenant="north")
    kept = "Ontraport keeps the access, because another connection on this site uses it."
    assert kept in text(client.post(url("disconnect", account), follow=True))
    last.tenant = ""
    last.save()
    assert kept not in text(client.post(url("disconnect", last), follow=True))


@pytest.mark.parametrize(("endpoints", "is_promised"), [("ontraport", True), ("guide", False)])
def test_the_page_promises_no_revocation_where_there_is_no_endpoint_for_it(
    client: Client, maya: Any, endpoints: str, is_promised: bool
) -> None:
    linked(maya)
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
        page = text(client.get(ACCOUNTS))
    assert ("We also tell Ontraport to end our access." in page) == is_promised
    assert ("We can't end our access in Ontraport from here. Please remove it there as well." in page) != is_promised


@pytest.mark.parametrize("tenant", ["", "north"])
def test_disconnecting_twice_is_no_error_for_who_did_it_and_not_found_for_others(
    client: Client, maya: Any, tenant: str
) -> None:
    address = url("disconnect", linked(maya, method=Method.API_KEY, refresh_token=None, tenant=tenant))
    maya.user_permissions.set(Permission.objects.filter(codename="delete_ontraportaccount"))
    sam = Client(headers={"X-Tenant": "south"})
    sam.force_login(get_user_model().objects.create_user("sam"))
    with override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request" if tenant else None):
        client.defaults["HTTP_X_TENANT"] = tenant
        assert [client.post(address)["Location"] for _ in range(2)] == [ACCOUNTS, ACCOUNTS]
        assert sam.post(address).status_code == 404
    assert OntraportEvent.objects.filter(kind=EventKind.DISCONNECTED).count() == 1


def test_our_part_of_a_page_is_light_and_brings_no_inline_script_and_no_font() -> None:
    package = Path(apps.get_app_config("ontraport_connect").path)
    style = (package / "static/ontraport_connect/ontraport.css").read_text()
    assert len(style.encode()) < 10_000
    assert not re.search(r"url\(|@import|@font-face", style)
    for template in (package / "templates/ontraport_connect").glob("*.html"):
        source = template.read_text().replace(SCRIPT, "")
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:", source), template.name


def test_in_a_tenant_only_who_may_can_link_rename_and_disconnect(client: Client, maya: Any) -> None:
    account = linked(maya, tenant="north", method=Method.API_KEY, refresh_token=None)
    with override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request"):
        client.defaults["HTTP_X_TENANT"] = "north"
        page = text(client.get(ACCOUNTS))
        assert "Shop" in page
        assert "<form" not in page
        assert "Ask a workspace admin" in text(client.get(CONNECT))
        assert "<form" not in text(client.get(CONNECT))
        for action in ("rename", "make_default", "disconnect"):
            assert client.post(url(action, account)).status_code == 403
        assert client.post(CONNECT).status_code == 403
        assert client.get(KEY).status_code == 403
        maya.user_permissions.set(Permission.objects.filter(codename="link_ontraportaccount"))
        assert client.post(url("rename", account), {"label": "North"}).status_code == 302
        assert client.post(url("disconnect", account)).status_code == 403
        client.defaults["HTTP_X_TENANT"] = "south"
        assert client.post(url("rename", account)).status_code == 404
        assert "Let this site work with your Ontraport contacts" in text(client.get(ACCOUNTS))
    account.refresh_from_db()
    assert account.label == "North"


def test_a_uid_that_nobody_has_is_not_found(client: Client, maya: Any) -> None:
    assert client.post(reverse("ontraport_connect:rename", args=[uuid.uuid4()])).status_code == 404
