"""``@ontraport_required`` and ``OntraportRequiredMixin``."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client, override_settings
from django.utils import timezone

from ontraport_connect.models import OntraportAccount, Status
from tests.support import ontraport
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.support.using_urls")]

WHOLE = ["/required/", "/required-async/", "/required-class/", "/required-class-async/"]
SINGLE = ["/one/{}/", "/one-async/{}/", "/one-class/{}/"]
Get = Callable[..., Any]


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya() -> Any:
    return person("maya")


@pytest.fixture(params=["wsgi", "asgi"])
def get(request: pytest.FixtureRequest, maya: Any) -> Get:
    """Request a page as Maya, through WSGI and ASGI."""
    if request.param == "wsgi":
        client = Client()
        client.force_login(maya)
        return client.get
    async_client = AsyncClient()
    async_client.force_login(maya)
    return async_to_sync(async_client.get)


def expire(account: OntraportAccount) -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(expires_at=timezone.now() - timedelta(hours=1))


@pytest.mark.parametrize("path", WHOLE)
def test_a_view_runs_with_the_default_account(get: Get, maya: Any, path: str) -> None:
    key_account(maya, ontraport_id="1", label="first")
    key_account(maya, ontraport_id="2", label="second", is_default=True)
    assert get(path).json()["label"] == "second"


@pytest.mark.parametrize("path", WHOLE)
def test_a_browser_without_an_account_is_sent_to_connect_and_back(get: Get, path: str) -> None:
    response = get(path, {"page": "2"})
    assert response.status_code == 302
    target = urlsplit(response["Location"])
    assert (target.path, parse_qs(target.query)) == ("/ontraport/connect/", {"next": [f"{path}?page=2"]})
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", WHOLE)
def test_a_browser_with_a_lost_account_is_sent_to_reconnect_it(get: Get, maya: Any, path: str) -> None:
    account = key_account(maya, status=Status.NEEDS_RECONNECT)
    query = parse_qs(urlsplit(get(path)["Location"]).query)
    assert query == {"next": [path], "account": [str(account.uid)]}


@pytest.mark.parametrize("path", WHOLE)
def test_a_client_that_wants_json_gets_it(get: Get, maya: Any, path: str) -> None:
    response = get(path, headers={"Accept": "application/json"})
    connect_url = f"http://testserver/ontraport/connect/?next=%2F{path.strip('/')}%2F"
    assert (response.status_code, response.json()) == (
        401,
        {"error": "ontraport_not_connected", "connect_url": connect_url},
    )
    key_account(maya, status=Status.NEEDS_RECONNECT)
    response = get(path, headers={"Accept": "application/json"})
    assert (response.status_code, response.json()["error"]) == (401, "ontraport_reconnect_required")
    assert "Accept" in response["Vary"]


@pytest.mark.parametrize("path", WHOLE)
@override_settings(LOGIN_URL="/sign-in/")
def test_who_is_not_signed_in_signs_in_first(path: str) -> None:
    assert Client().get(path)["Location"] == f"/sign-in/?next={path}"
    response = Client().get(path, headers={"Accept": "application/json"})
    assert (response.status_code, response.json()) == (401, {"error": "login_required"})


@pytest.mark.parametrize("path", SINGLE)
def test_a_view_with_the_account_in_its_url(get: Get, maya: Any, path: str) -> None:
    key_account(maya, ontraport_id="1", label="first", is_default=True)
    second = key_account(maya, ontraport_id="2", label="second")
    assert get(path.format(second.uid)).json()["label"] == "second"


@pytest.mark.parametrize("path", SINGLE)
def test_somebody_elses_account_is_not_there(get: Get, maya: Any, path: str) -> None:
    key_account(maya, ontraport_id="1")
    theirs = key_account(person("tomas"), ontraport_id="2")
    assert get(path.format(theirs.uid)).status_code == 404
    assert get(path.format(uuid.uuid4())).status_code == 404


def test_a_handle_that_is_none_is_not_there(get: Get) -> None:
    assert get("/one-class/not-a-uuid/").status_code == 404


@pytest.mark.parametrize("path", ["/required/", "/required-async/"])
def test_a_token_that_has_ended_is_refreshed_before_the_view_runs(
    get: Get, maya: Any, sandbox: Sandbox, path: str
) -> None:
    expire(linked_account(maya, sandbox))
    assert get(path).status_code == 200
    assert OntraportAccount.objects.get().is_valid_for(60)
    assert sandbox.state()["counts"]["token:refresh_token"] == 1


def test_a_grant_that_was_taken_back_leads_to_a_reconnect(get: Get, maya: Any, sandbox: Sandbox) -> None:
    account = linked_account(maya, sandbox)
    expire(account)
    sandbox.revoke()
    assert parse_qs(urlsplit(get("/required/")["Location"]).query)["account"] == [str(account.uid)]


def test_while_ontraport_is_away_the_page_says_so(get: Get, maya: Any, sandbox: Sandbox) -> None:
    expire(linked_account(maya, sandbox))
    sandbox.set(fault="500", fault_target="token")
    response = get("/required/")
    assert response.status_code == 503
    assert "Ontraport" in response.content.decode()
    response = get("/required-async/", headers={"Accept": "application/json"})
    assert (response.status_code, response.json()) == (503, {"error": "ontraport_unavailable"})
    assert int(response["Retry-After"]) >= 1


def test_an_async_view_uses_the_account(get: Get, maya: Any, sandbox: Sandbox) -> None:
    linked_account(maya, sandbox)
    assert get("/count-async/").json() == {"count": 21}


def test_a_valid_token_costs_one_query_and_no_decryption(
    client: Client, maya: Any, sandbox: Sandbox, django_assert_num_queries: Any
) -> None:
    """In addition to those for the session and the user; that the account is used is written once an hour. The decryption key is not
    even configured.
    """
    linked_account(maya, sandbox)
    client.force_login(maya)
    elsewhere = ["a-key-that-decrypts-nothing-of-what-is-stored"]
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=elsewhere):
        assert client.get("/required/").status_code == 200
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=elsewhere), django_assert_num_queries(3):
        assert client.get("/required/").status_code == 200
