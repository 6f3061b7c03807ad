"""The pages over real HTTP semantics: what they say, whom they let in, what their headers are."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.http import HttpRequest
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse
from django.utils import timezone
from django.utils.formats import localize

from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.linking import Owner
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.pages import editing
from ontraport_connect.pages.problems import EXPLANATIONS, SESSION_KEY
from ontraport_connect.refreshing import circuit_breaker
from tests.support import ontraport
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db

ACCOUNTS = "/ontraport/"
CONNECT = "/ontraport/connect/"
KEY = "/ontraport/connect/key/"
ACTIONS = ("reconnect", "rename", "make_default", "disconnect")
DEAD = ontraport.settings_for("http://127.0.0.1:9/")


def tenant_of_request(request: HttpRequest) -> str:
    return request.headers.get("X-Tenant", "")


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    with override_settings(**DEAD):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    user = get_user_model().objects.create_user("maya", password="demo")
    client.force_login(user)
    return user


def linked(user: Any, **values: Any) -> OntraportAccount:
    defaults: dict[str, Any] = {"user": user, "label": "Shop", "access_token": "a", "refresh_token": "r"}
    account: OntraportAccount = OntraportAccount.objects.create(**{**defaults, **values})
    return account


def url(name: str, account: OntraportAccount) -> str:
    return reverse(f"ontraport_connect:{name}", args=[account.uid])


def text(response: Any) -> str:
    content: str = response.content.decode()
    return content


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
        "there is nothing you need to do",
        "It is our turn to mend that",
        "Needs you to reconnect",
        "Enter a new key",
        "Renewal failed; we kept trying",
        "Ontraport did not answer",
        "this site is accepted again",
    ):
        assert words in page, words
    assert "something_new" not in page


def test_a_site_that_ontraport_refuses_says_that_it_is_its_own_turn(client: Client, maya: Any) -> None:
    linked(maya)
    circuit_breaker.hold(OntraportUnavailable("slow down", code="rate_limited", retry_after=60))
    assert "It is our turn" not in text(client.get(ACCOUNTS))
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    assert "It is our turn" in text(client.get(ACCOUNTS))
    with override_settings(ONTRAPORT_CLIENT_SECRET="another"):
        assert "It is our turn" not in text(client.get(ACCOUNTS))


def test_the_history_ends_somewhere(client: Client, maya: Any) -> None:
    account = linked(maya)
    for _ in range(12):
        OntraportEvent.record(account, EventKind.RECONNECTED)
    assert text(client.get(ACCOUNTS)).count("Connected again") == 10


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
    assert "This connection is called The shop now." in text(page)
    page = client.post(url("rename", account), {"label": ""}, follow=True)
    assert "This connection is called Ontraport 187157 now." in text(page)


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
    assert "Second is the default now." in text(client.post(url("make_default", second), follow=True))
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
        editing.make_default(owner, account)
        connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(choose, accounts * 4))
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
    assert "Shop is disconnected. This site can no longer use it." in text(response)
    assert not OntraportAccount.objects.exists()


def test_disconnecting_one_of_several_says_that_ontraport_keeps_the_access(client: Client, maya: Any) -> None:
    account, last = linked(maya, ontraport_id="7"), linked(maya, ontraport_id="7", tenant="north")
    kept = "Ontraport keeps this access, because another connection of this site uses it."
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
    assert ("Ontraport is told to end the access." in page) == is_promised
    assert ("Ontraport is not told. End this site's access in Ontraport, too." in page) != is_promised


@pytest.mark.parametrize("tenant", ["", "north"])
def test_disconnecting_twice_is_no_error_for_who_did_it_and_not_found_for_others(
    client: Client, maya: Any, tenant: str
) -> None:
    address = url("disconnect", linked(maya, method=Method.API_KEY, refresh_token=None, tenant=tenant))
    maya.user_permissions.set(Permission.objects.filter(codename="delete_ontraportaccount"))
    sam = Client(headers={"X-Tenant": "south"})
    sam.force_login(get_user_model().objects.create_user("sam"))
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_views.tenant_of_request" if tenant else None):
        client.defaults["HTTP_X_TENANT"] = tenant
        assert [client.post(address)["Location"] for _ in range(2)] == [ACCOUNTS, ACCOUNTS]
        assert sam.post(address).status_code == 404
    assert OntraportEvent.objects.filter(kind=EventKind.DISCONNECTED).count() == 1


def test_our_part_of_a_page_is_light_and_brings_neither_script_nor_font() -> None:
    package = Path(apps.get_app_config("ontraport_connect").path)
    style = (package / "static/ontraport_connect/ontraport.css").read_text()
    assert len(style.encode()) < 8000
    assert not re.search(r"url\(|@import|@font-face", style)
    for template in (package / "templates/ontraport_connect").glob("*.html"):
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:", template.read_text()), template.name


def test_the_connect_page_says_what_each_tool_does(client: Client, maya: Any) -> None:
    tools = ["refund_transaction", "unheard_of", "get_objects"]
    with override_settings(ONTRAPORT_MCP_TOOLS=tools):
        page = text(client.get(CONNECT))
    places = [page.index(words) for words in ("Read your contacts", "Refund payments", "<code>unheard_of</code>")]
    assert places == sorted(places)
    assert "nothing but what is listed here" in page
    assert "Delete contacts" not in page
    assert "Delete contacts" in text(client.get(CONNECT))


def test_the_connect_page_keeps_where_to_go_afterwards_if_it_is_here(client: Client, maya: Any) -> None:
    assert 'value="/used/?a=1&amp;b=2"' in text(client.get(CONNECT, {"next": "/used/?a=1&b=2"}))
    assert "evil" not in text(client.get(CONNECT, {"next": "//evil.example/"}))


def test_the_connect_page_of_an_account_reconnects_that_one(client: Client, maya: Any) -> None:
    account = linked(maya, ontraport_id="187157", status=Status.NEEDS_RECONNECT)
    page = text(client.get(CONNECT, {"account": str(account.uid)}))
    assert url("reconnect", account) in page
    assert "number 187157" in page
    assert "This connection is well" in text(client.get(CONNECT, {"account": str(linked(maya).uid)}))
    assert "Connect your Ontraport account" in text(client.get(CONNECT, {"account": "nonsense"}))


def test_a_key_pair_is_reconnected_with_the_key_form(client: Client, maya: Any) -> None:
    account = linked(maya, method=Method.API_KEY, refresh_token=None)
    assert f"{KEY}?account={account.uid}" in text(client.get(CONNECT, {"account": str(account.uid)}))
    response = client.post(url("reconnect", account))
    assert response["Location"] == f"{KEY}?account={account.uid}"
    response = client.post(url("reconnect", account), {"next": "/a/?b=c&d"})
    assert response["Location"] == f"{KEY}?account={account.uid}&next=%2Fa%2F%3Fb%3Dc%26d"
    assert "A new key for" in text(client.get(response["Location"]))


def test_a_key_is_said_to_be_tried_and_not_to_be_refreshed(client: Client, maya: Any) -> None:
    account = linked(maya, method=Method.API_KEY, refreshed_at=timezone.now())
    page = text(client.get(ACCOUNTS))
    assert ("Last tried" in page, "Last refresh" in page) == (True, False)
    OntraportAccount.objects.filter(pk=account.pk).update(method=Method.OAUTH)
    page = text(client.get(ACCOUNTS))
    assert ("Last tried" in page, "Last refresh" in page) == (False, True)


def test_a_link_made_by_signing_in_cannot_be_turned_into_a_key(client: Client, maya: Any) -> None:
    assert client.get(KEY, {"account": str(linked(maya).uid)}).status_code == 404


def test_pressing_the_button_leads_to_ontraport_and_tells_it_no_address_of_ours(client: Client, maya: Any) -> None:
    response = client.post(CONNECT, {"next": "/private/page/"})
    assert response["Location"].startswith("http://127.0.0.1:9/oauth/authorize?")
    assert "private" not in response["Location"]
    assert response["Referrer-Policy"] == "no-referrer"
    account = linked(maya)
    assert client.post(url("reconnect", account))["Location"].startswith("http://127.0.0.1:9/oauth/authorize?")


def test_a_site_without_its_settings_says_whose_turn_it_is(
    client: Client, maya: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS="nowhere"):
        page = client.post(CONNECT, follow=True)
    assert "It is our turn" in text(page)
    assert "See your accounts" in text(page)
    assert "ONTRAPORT_ENDPOINTS" not in text(page)
    assert "ONTRAPORT_ENDPOINTS" in caplog.text


@pytest.mark.parametrize("code", [*EXPLANATIONS, "never-heard-of-it"])
def test_every_problem_is_explained_with_one_way_on(client: Client, maya: Any, code: str) -> None:
    page = text(client.get(f"/ontraport/problem/{code}/"))
    assert page.count("ontraport-primary") == 1
    assert "turn" in page


def test_the_way_on_from_a_problem_leads_back_to_what_was_asked(client: Client, maya: Any) -> None:
    account = linked(maya, status=Status.NEEDS_RECONNECT)
    location = client.post(url("reconnect", account), {"next": "/used/"})["Location"]
    state = parse_qs(urlsplit(location).query)["state"][0]
    issuer = "http://127.0.0.1:9"
    answer = {"state": state, "iss": issuer, "error": "invalid_scope", "error_description": "<b>No</b> \u202esuch"}
    response = client.get("/ontraport/callback/", answer)
    assert response["Location"] == "/ontraport/problem/refused/"
    page = text(client.get(response["Location"]))
    assert "&lt;b&gt;No&lt;/b&gt; such" in page
    assert f"{CONNECT}?next=%2Fused%2F&amp;account={account.uid}" in page
    assert "such" not in text(client.get("/ontraport/problem/denied/"))


def test_an_answer_to_no_attempt_leaves_no_trace_in_the_session(client: Client, maya: Any) -> None:
    before = dict(client.session.items())
    response = client.get("/ontraport/callback/", {"state": "x" * 43, "error": "access_denied"})
    assert response["Location"] == "/ontraport/problem/unknown/"
    assert dict(client.session.items()) == before
    assert SESSION_KEY not in client.session


def test_the_callback_tells_its_address_to_nobody_and_is_not_kept(client: Client) -> None:
    response = client.get("/ontraport/callback/?state=s&code=c")
    assert response["Location"] == "/ontraport/problem/signed_out/"
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    assert response["X-Frame-Options"] == "DENY"
    assert "Sign in" in text(client.get(response["Location"]))
    assert client.post("/ontraport/callback/").status_code == 405


def test_a_strict_session_cookie_is_fetched_by_one_step_on_this_site(client: Client, maya: Any) -> None:
    stranger = Client()
    with override_settings(SESSION_COOKIE_SAMESITE="Strict"):
        page = stranger.get("/ontraport/callback/", {"state": "s", "code": '"><script>', "x": "ä&b"})
        assert (
            'content="0; url=/ontraport/callback/?state=s&amp;code=%22%3E%3Cscript%3E&amp;x=%C3%A4%26b&amp;returned=1"'
            in text(page)
        )
        assert page["Referrer-Policy"] == "no-referrer"
        once = stranger.get("/ontraport/callback/?state=s&code=c&returned=1")
        assert once["Location"] == "/ontraport/problem/signed_out/"
        assert client.get("/ontraport/callback/?state=s&code=c")["Location"] == "/ontraport/problem/unknown/"


def test_a_key_form_with_nonsense_says_what_to_do_and_never_shows_the_key(client: Client, maya: Any) -> None:
    page = client.post(KEY, {"app_id": "2_1_x", "api_key": "schlüssel-geheim", "next": "/used/"})
    assert page.status_code == 422
    assert "please copy it again" in text(page)
    assert "geheim" not in text(page)
    assert 'value="/used/"' in text(page)


def test_keys_that_ontraport_cannot_be_asked_about_are_not_stored(client: Client, maya: Any) -> None:
    page = client.post(KEY, {"app_id": "2_1_x", "api_key": "some-key-geheim"})
    assert "Ontraport could not be reached" in text(page)
    assert "geheim" not in text(page)
    assert not OntraportAccount.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_key_pair_is_linked_and_replaced(client: Client, maya: Any, sandbox: Sandbox) -> None:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        keys = {"app_id": " 2_187157_sandbox ", "api_key": "sandbox-key-owner"}
        response = client.post(KEY, {**keys, "label": "Shop", "next": "/used/"})
        assert response["Location"] == "/used/"
        account = OntraportAccount.objects.get()
        assert (account.label, account.ontraport_id, account.is_default) == ("Shop", "187157", True)
        response = client.post(f"{KEY}?account={account.uid}", keys)
        assert response["Location"] == ACCOUNTS
        wrong = {"app_id": "2_204211_sandbox", "api_key": "sandbox-key-agency"}
        assert "204211" in text(client.post(f"{KEY}?account={account.uid}", wrong))
    assert OntraportAccount.objects.get().label == "Shop"


@pytest.mark.django_db(transaction=True)
def test_a_finished_attempt_lands_on_a_clean_address_and_says_so(client: Client, maya: Any, sandbox: Sandbox) -> None:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        response = ontraport.link(client, sandbox)
        assert (response["Location"], response["Referrer-Policy"]) == (ACCOUNTS, "no-referrer")
        assert "no-store" in response["Cache-Control"]
        assert "Harbour Street Coffee is connected." in text(client.get(ACCOUNTS))
        assert ontraport.link(client, sandbox, next="/used/")["Location"] == "/used/"


def test_in_a_tenant_only_who_may_can_link_rename_and_disconnect(client: Client, maya: Any) -> None:
    account = linked(maya, tenant="north", method=Method.API_KEY, refresh_token=None)
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_views.tenant_of_request"):
        client.defaults["HTTP_X_TENANT"] = "north"
        page = text(client.get(ACCOUNTS))
        assert "Shop" in page
        assert "<form" not in page
        assert "Ask somebody who administers your workspace" in text(client.get(CONNECT))
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
        assert "No Ontraport account is connected" in text(client.get(ACCOUNTS))
    account.refresh_from_db()
    assert account.label == "North"


def test_a_callback_without_a_tenant_has_a_way_on(client: Client, maya: Any) -> None:
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_views.tenant_of_request"):
        response = client.get("/ontraport/callback/", {"state": "x" * 43, "code": "c"})
    assert response["Location"] == "/ontraport/problem/unknown/"
    assert response["Referrer-Policy"] == "no-referrer"


def test_the_client_metadata_is_public_and_kept_for_a_while(client: Client) -> None:
    response = client.get("/ontraport/client.json")
    assert response["Cache-Control"] == "public, max-age=300"
    assert response.json()["redirect_uris"] == ["http://127.0.0.1:8000/ontraport/callback/"]


def test_a_uid_that_nobody_has_is_not_found(client: Client, maya: Any) -> None:
    assert client.post(reverse("ontraport_connect:rename", args=[uuid.uuid4()])).status_code == 404
