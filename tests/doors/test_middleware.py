"""``request.ontraport``: set for every view, and free of cost when unused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.test import AsyncClient, Client, override_settings

from ontraport_connect.middleware import RequestAccounts
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import spent_tokens
from tests.support import ontraport
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.support.using_urls")]


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    user = person("maya")
    client.force_login(user)
    return user


def accounts_of(user: Any) -> RequestAccounts:
    request = HttpRequest()
    request.user = user
    return RequestAccounts(request)


def test_a_page_that_does_not_ask_costs_nothing(client: Client, maya: Any, django_assert_num_queries: Any) -> None:
    key_account(maya)
    spent_tokens.forget_left()  # of tests that were rolled back
    with django_assert_num_queries(0):
        assert client.get("/plain/").content == b"plain"
    async_client = AsyncClient()
    async_client.force_login(maya)
    with django_assert_num_queries(0):
        assert async_to_sync(async_client.get)("/plain-async/").content == b"plain"


def test_asking_often_is_asking_once(maya: Any, django_assert_num_queries: Any) -> None:
    key_account(maya)
    accounts = accounts_of(maya)
    with django_assert_num_queries(1):
        assert accounts
        assert accounts.account is not None
        assert accounts.account.user == maya
        assert accounts.get(accounts.account.uid) is accounts.account


def test_the_account_of_choice(maya: Any) -> None:
    assert not accounts_of(maya)
    assert accounts_of(maya).account is None
    lost = key_account(maya, ontraport_id="1", status=Status.NEEDS_RECONNECT)
    assert not accounts_of(maya)
    assert accounts_of(maya).account == lost
    well = key_account(maya, ontraport_id="2")
    assert accounts_of(maya)
    assert accounts_of(maya).account == well
    OntraportAccount.objects.filter(pk=lost.pk).update(is_default=True)
    assert accounts_of(maya).account == lost
    assert not accounts_of(maya), "a page would use the default account, which does not work"
    assert list(accounts_of(maya).accounts) == [lost, well]


def test_an_account_by_its_handle(maya: Any) -> None:
    account, theirs = key_account(maya), key_account(person("tomas"))
    accounts = accounts_of(maya)
    assert accounts.get(account.uid) == accounts.get(str(account.uid)) == account
    for uid in (theirs.uid, uuid.uuid4(), "", "nonsense"):
        assert accounts.get(uid) is None


def test_nobody_and_the_deactivated_have_none(maya: Any) -> None:
    key_account(maya)
    maya.is_active = False
    assert accounts_of(maya).account is None
    assert accounts_of(AnonymousUser()).account is None
    assert RequestAccounts(HttpRequest()).account is None


def test_an_async_view_looks_its_accounts_up(maya: Any) -> None:
    key_account(maya)
    client = AsyncClient()
    client.force_login(maya)
    assert async_to_sync(client.get)("/seen-async/").json() == {"connected": True, "accounts": 1}
    assert async_to_sync(AsyncClient().get)("/seen-async/").json() == {"connected": False, "accounts": 0}


def test_a_link_that_ends_during_a_view_leads_back_to_that_very_account(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    key_account(maya, is_default=True)
    account = linked_account(maya, sandbox)
    assert client.get(f"/count/{account.uid}/").json() == {"count": 21}
    sandbox.revoke()
    target = urlsplit(client.get(f"/count/{account.uid}/")["Location"])
    assert target.path == "/ontraport/connect/"
    assert parse_qs(target.query) == {"next": [f"/count/{account.uid}/"], "account": [str(account.uid)]}
    response = AsyncClient()
    response.force_login(maya)
    assert async_to_sync(response.get)(f"/count/{account.uid}/").status_code == 302


def test_an_error_that_names_no_account_leads_to_the_default_one(client: Client, maya: Any) -> None:
    account = key_account(maya)
    assert str(account.uid) in client.get("/gone/")["Location"]


def test_an_error_about_nobodys_account_stays_an_error(client: Client, maya: Any) -> None:
    client.raise_request_exception = False
    assert client.get("/gone/").status_code == 500
    assert client.get("/broken/").status_code == 500


def test_ontraport_that_is_away_is_a_503_and_no_error(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    response = client.get("/away/")
    assert (response.status_code, response["Retry-After"]) == (503, "8")
    assert "Ontraport isn't responding" in response.content.decode()
    response = client.get("/away/", headers={"Accept": "application/json"})
    assert (response.status_code, response.json()) == (503, {"error": "ontraport_unavailable"})
    from_async = async_to_sync(AsyncClient().get)("/away-async/")
    assert (from_async.status_code, from_async["Retry-After"]) == (503, "60")
    assert "A page answers 503: away (timeout)" in caplog.messages


def test_a_site_that_is_not_set_up_is_a_503_that_the_operator_hears_of(
    client: Client, maya: Any, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.get("/not-set-up/")
    assert response.status_code == 503
    assert "let us know" in response.content.decode()
    response = client.get("/not-set-up/", headers={"Accept": "application/json"})
    assert (response.status_code, response.json()) == (503, {"error": "misconfigured"})
    assert "A page answers 503: wrong secret (invalid_client)" in caplog.messages


def test_while_a_site_is_developed_django_shows_what_is_not_set_up(client: Client, maya: Any) -> None:
    client.raise_request_exception = False
    with override_settings(DEBUG=True):
        response = client.get("/not-set-up/")
    assert response.status_code == 500
    assert "wrong secret" in response.content.decode()
