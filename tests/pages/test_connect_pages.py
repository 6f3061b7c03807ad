"""The connect pages: what they say, and what their buttons do."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect.models import Method, OntraportAccount, Status
from tests.support import ontraport
from tests.support.pages import ACCOUNTS, CONNECT, KEY, linked, text, url
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unreachable")]


def test_the_connect_page_says_what_each_tool_does(client: Client, maya: Any) -> None:
    tools = ["refund_transaction", "unheard_of", "get_objects"]
    with override_settings(ONTRAPORT_MCP_TOOLS=tools):
        page = text(client.get(CONNECT))
    places = [page.index(words) for words in ("Read your contacts", "Refund payments", "<code>unheard_of</code>")]
    assert places == sorted(places)
    assert "only for what's listed here" in page
    assert "Delete contacts" not in page
    assert "Delete contacts" in text(client.get(CONNECT))


def test_the_connect_page_keeps_where_to_go_afterwards_if_it_is_here(client: Client, maya: Any) -> None:
    assert 'value="/used/?a=1&amp;b=2"' in text(client.get(CONNECT, {"next": "/used/?a=1&b=2"}))
    assert "evil" not in text(client.get(CONNECT, {"next": "//evil.example/"}))


def test_the_connect_page_of_an_account_reconnects_that_one(client: Client, maya: Any) -> None:
    account = linked(maya, ontraport_id="187157", status=Status.NEEDS_RECONNECT)
    page = text(client.get(CONNECT, {"account": str(account.uid)}))
    assert url("reconnect", account) in page
    assert "Sign in to the same Ontraport account (187157)." in page
    assert "This connection is working. You can reconnect it anyway." in text(
        client.get(CONNECT, {"account": str(linked(maya).uid)})
    )
    assert "Connect your Ontraport account" in text(client.get(CONNECT, {"account": "nonsense"}))


def test_a_key_pair_is_reconnected_with_the_key_form(client: Client, maya: Any) -> None:
    account = linked(maya, method=Method.API_KEY, refresh_token=None)
    assert f"{KEY}?account={account.uid}" in text(client.get(CONNECT, {"account": str(account.uid)}))
    response = client.post(url("reconnect", account))
    assert response["Location"] == f"{KEY}?account={account.uid}"
    response = client.post(url("reconnect", account), {"next": "/a/?b=c&d"})
    assert response["Location"] == f"{KEY}?account={account.uid}&next=%2Fa%2F%3Fb%3Dc%26d"
    assert "New key for" in text(client.get(response["Location"]))


def test_a_key_is_said_to_be_tried_and_not_to_be_refreshed(client: Client, maya: Any) -> None:
    account = linked(maya, method=Method.API_KEY, refreshed_at=timezone.now())
    page = text(client.get(ACCOUNTS))
    assert ("Last checked" in page, "Last renewed" in page) == (True, False)
    OntraportAccount.objects.filter(pk=account.pk).update(method=Method.OAUTH)
    page = text(client.get(ACCOUNTS))
    assert ("Last checked" in page, "Last renewed" in page) == (False, True)


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
    assert "Problem on our side</p>" in text(page)
    assert "See your accounts" in text(page)
    assert "ONTRAPORT_ENDPOINTS" not in text(page)
    assert "ONTRAPORT_ENDPOINTS" in caplog.text


def test_a_key_form_with_nonsense_says_what_to_do_and_never_shows_the_key(client: Client, maya: Any) -> None:
    page = client.post(KEY, {"app_id": "2_1_x", "api_key": "schlüssel-geheim", "next": "/used/"})
    assert page.status_code == 422
    assert "t valid. Copy it again from Ontraport and paste it here." in text(page)
    assert "geheim" not in text(page)
    assert 'value="/used/"' in text(page)


def test_an_empty_post_to_the_key_form_says_what_is_missing(client: Client, maya: Any) -> None:
    page = client.post(KEY)
    assert (page.status_code, text(page).count("This field is required")) == (422, 2)


def test_keys_that_ontraport_cannot_be_asked_about_are_not_stored(client: Client, maya: Any) -> None:
    page = client.post(KEY, {"app_id": "2_1_x", "api_key": "some-key-geheim"})
    assert "reach Ontraport to check your key" in text(page)
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
