"""Linking over real HTTP against the sandbox: first link, reconnect, concurrent links, and every way to fail."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.db.models.signals import pre_save
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect import linking, refreshing
from ontraport_connect.encryption import Sealed
from ontraport_connect.exceptions import LinkingFailed, OntraportMisconfigured
from ontraport_connect.models import OntraportAccount, OntraportEvent, OntraportRevocation, Status
from ontraport_connect.refreshing import one_account
from ontraport_connect.signals import account_linked
from tests.support import ontraport
from tests.support.hostile_server import KeepAlive, answer, hostile_server
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Any:
    sandbox.revoke()
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    user = get_user_model().objects.create_user("maya", password="demo")
    client.force_login(user)
    return user


def alive(sandbox: Sandbox) -> int:
    """Return the number of grants that are valid at Ontraport."""
    return sum(bool(grant["alive"]) for grant in sandbox.state()["grants"])


def problem_of(response: Any) -> str:
    assert response.status_code == 302
    return str(response["Location"]).split("/problem/")[-1].strip("/")


def reconnect(client: Client, account: OntraportAccount, *, username: str = "owner") -> Any:
    response = client.post(reverse("ontraport_connect:reconnect", args=[account.uid]))
    return ontraport.come_back(client, ontraport.consent(response["Location"], username=username))


def needs_reconnect(account: OntraportAccount) -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(status=Status.NEEDS_RECONNECT)


def test_a_customer_links_refreshes_uses_and_disconnects(client: Client, maya: Any, sandbox: Sandbox) -> None:
    response = ontraport.link(client, sandbox, next="/admin/")
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    account = OntraportAccount.objects.get(user=maya)
    assert (account.ontraport_id, account.status, account.scope) == ("187157", Status.CONNECTED, "mcp:tools")
    before = account.access_token.reveal()
    one_account.refresh(account)
    assert account.access_token.reveal() != before
    assert account.mcp("count_objects", objectID="0") == {"count": 21}
    linking.unlink(account)
    assert not OntraportAccount.objects.exists()
    assert alive(sandbox) == 0
    assert not OntraportRevocation.objects.exists()
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["linked", "disconnected"]


def test_denied_consent_ends_on_a_page_that_says_so(client: Client, maya: Any, sandbox: Sandbox) -> None:
    back = ontraport.consent(ontraport.press_connect(client), allow=False)
    page = client.get(ontraport.come_back(client, back)["Location"])
    assert "allow access" in page.content.decode()
    assert not OntraportAccount.objects.exists()


def test_a_reconnect_mends_the_same_row(client: Client, maya: Any, sandbox: Sandbox) -> None:
    ontraport.link(client, sandbox)
    account = OntraportAccount.objects.get()
    needs_reconnect(account)
    reconnect(client, account)
    again = OntraportAccount.objects.get()
    assert (again.pk, again.uid, again.status) == (account.pk, account.uid, Status.CONNECTED)
    assert again.access_token.reveal() != account.access_token.reveal()
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["linked", "reconnected"]
    one_account.refresh(again)


def test_connecting_again_does_not_end_the_new_grant(client: Client, maya: Any, sandbox: Sandbox) -> None:
    """RFC 7009, 2.1: revoking the old grant would end the new one at a server with one grant per person and client."""
    ontraport.link(client, sandbox)
    reconnect(client, OntraportAccount.objects.get())
    one_account.refresh(OntraportAccount.objects.get())
    ontraport.link(client, sandbox)
    one_account.refresh(OntraportAccount.objects.get())
    assert sandbox.state()["counts"]["revoke"] == 0
    assert not OntraportRevocation.objects.exists()


def test_a_reconnect_that_comes_back_as_another_account_is_refused_and_its_grant_revoked(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    ontraport.link(client, sandbox)
    account = OntraportAccount.objects.get()
    needs_reconnect(account)
    response = reconnect(client, account, username="agency")
    assert problem_of(response) == "different_account"
    page = client.get(response["Location"]).content.decode()
    assert "204211" in page
    assert "187157" in page
    again = OntraportAccount.objects.get()
    assert (again.status, again.access_token.reveal()) == (Status.NEEDS_RECONNECT, account.access_token.reveal())
    assert alive(sandbox) == 1


def test_a_reconnect_that_does_not_say_whose_it_is_changes_nothing(client: Client, maya: Any, sandbox: Sandbox) -> None:
    ontraport.link(client, sandbox)
    account = OntraportAccount.objects.get()
    needs_reconnect(account)
    sandbox.set(fault="500", fault_target="mcp")
    assert problem_of(reconnect(client, account)) == "unidentified"
    assert OntraportAccount.objects.get().access_token.reveal() == account.access_token.reveal()
    assert alive(sandbox) == 0


def test_a_first_link_does_not_need_to_know_whose_it_is(client: Client, maya: Any, sandbox: Sandbox) -> None:
    sandbox.set(fault="500", fault_target="mcp")
    ontraport.link(client, sandbox)
    account = OntraportAccount.objects.get()
    assert (account.ontraport_id, account.status) == ("", Status.CONNECTED)
    sandbox.reset()
    needs_reconnect(account)
    reconnect(client, account)
    assert OntraportAccount.objects.get().ontraport_id == "187157"


@pytest.mark.parametrize("default", ["unidentified", "identified"])
def test_a_reconnect_that_turns_out_to_be_an_account_that_is_linked_already_merges_the_two(
    client: Client, maya: Any, sandbox: Sandbox, default: str
) -> None:
    """The first link could not be identified, since MCP was away; so the customer linked the same account once more."""
    sandbox.set(fault="500", fault_target="mcp")
    ontraport.link(client, sandbox)
    sandbox.reset()
    unidentified = OntraportAccount.objects.get()
    ontraport.link(client, sandbox)
    identified = OntraportAccount.objects.get(ontraport_id="187157")
    identified.label = "Shop"
    identified.save()
    OntraportAccount.objects.filter(pk=unidentified.pk).update(is_default=default == "unidentified")
    OntraportAccount.objects.filter(pk=identified.pk).update(is_default=default == "identified")
    assert reconnect(client, unidentified)["Location"] == "/ontraport/"
    merged = OntraportAccount.objects.get()
    assert (merged.uid, merged.ontraport_id, merged.label) == (unidentified.uid, "187157", "Shop")
    assert (merged.is_default, merged.status) == (True, Status.CONNECTED)
    assert [event.kind for event in merged.events.order_by("pk")] == ["linked", "linked", "reconnected"]
    assert OntraportEvent.objects.get(account_uid=identified.uid).kind == "disconnected"
    OntraportRevocation.objects.update(try_at=timezone.now() - timedelta(seconds=1))
    assert refreshing.deliver_revocations(10) == 0
    one_account.refresh(merged)
    assert sandbox.state()["counts"]["revoke"] == 0
    linking.unlink(merged)
    assert alive(sandbox) == 0


def test_two_reconnects_that_turn_out_to_be_one_account_leave_one(client: Client, maya: Any, sandbox: Sandbox) -> None:
    sandbox.set(fault="500", fault_target="mcp")
    ontraport.link(client, sandbox)
    ontraport.link(client, sandbox)
    sandbox.reset()
    first, second = OntraportAccount.objects.order_by("pk")
    reconnect(client, first)
    reconnect(client, second)
    one_account.refresh(OntraportAccount.objects.get())


def test_a_row_that_cannot_be_saved_twice_ends_on_a_page(client: Client, maya: Any, sandbox: Sandbox) -> None:
    def refuse(**kwargs: Any) -> None:
        raise IntegrityError

    back = ontraport.consent(ontraport.press_connect(client))
    pre_save.connect(refuse, sender=OntraportAccount)
    try:
        assert problem_of(ontraport.come_back(client, back)) == "twice"
    finally:
        pre_save.disconnect(refuse, sender=OntraportAccount)
    assert (OntraportAccount.objects.count(), alive(sandbox)) == (0, 0)


def test_a_connection_that_was_removed_meanwhile_is_not_brought_back(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    ontraport.link(client, sandbox)
    account = OntraportAccount.objects.get()
    back = ontraport.consent(client.post(reverse("ontraport_connect:reconnect", args=[account.uid]))["Location"])
    linking.unlink(account)
    assert problem_of(ontraport.come_back(client, back)) == "gone"
    assert not OntraportAccount.objects.exists()
    assert alive(sandbox) == 0


def test_the_same_account_linked_again_is_one_row_and_lets_no_grant_behind_once_it_is_gone(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    ontraport.link(client, sandbox)
    ontraport.link(client, sandbox)
    account = OntraportAccount.objects.get()
    one_account.refresh(account)
    linking.unlink(account)
    assert alive(sandbox) == 0


def test_an_ontraport_account_that_two_people_linked_ends_with_the_last_of_them(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    ontraport.link(client, sandbox)
    tomas = get_user_model().objects.create_user("tomas", password="demo")
    other = Client()
    other.force_login(tomas)
    ontraport.link(other, sandbox)
    linking.unlink(OntraportAccount.objects.get(user=maya))
    last = OntraportAccount.objects.get(user=tomas)
    one_account.refresh(last)
    linking.unlink(last)
    assert alive(sandbox) == 0


def test_a_revocation_that_waits_does_not_end_a_grant_that_is_about_to_be_stored(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    """It is delivered between the exchange of the code and the moment when the new account can be seen."""
    ontraport.link(client, sandbox)
    sandbox.set(fault="500", fault_target="revoke", fault_count=1)
    linking.unlink(OntraportAccount.objects.get())
    OntraportRevocation.objects.update(try_at=timezone.now() - timedelta(seconds=1))
    back = ontraport.consent(ontraport.press_connect(client))
    delivered: list[int] = []

    def deliver(instance: OntraportAccount, **kwargs: Any) -> None:
        delivered.append(refreshing.deliver_revocations(10))

    pre_save.connect(deliver, sender=OntraportAccount)
    try:
        ontraport.come_back(client, back)
    finally:
        pre_save.disconnect(deliver, sender=OntraportAccount)
    assert delivered == [0]
    one_account.refresh(OntraportAccount.objects.get())
    OntraportRevocation.objects.update(try_at=timezone.now() - timedelta(seconds=1))
    refreshing.deliver_revocations(10)
    one_account.refresh(OntraportAccount.objects.get())
    assert not OntraportRevocation.objects.exists()


def test_an_old_grant_that_nobody_can_read_does_not_hold_up_a_new_one(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    ontraport.link(client, sandbox)
    OntraportAccount.objects.update(refresh_token=Sealed(b"\1altered"))
    ontraport.link(client, sandbox)
    one_account.refresh(OntraportAccount.objects.get())


def test_two_accounts_of_one_owner_are_two_rows_and_one_default(client: Client, maya: Any, sandbox: Sandbox) -> None:
    ontraport.link(client, sandbox)
    ontraport.link(client, sandbox, username="agency")
    rows = OntraportAccount.objects.all()
    assert [(row.ontraport_id, row.is_default) for row in rows] == [("187157", True), ("204211", False)]


@pytest.mark.parametrize("attempt", range(3))
def test_the_same_account_linked_twice_at_the_same_moment_is_one_row(
    maya: Any, sandbox: Sandbox, live_server: Any, attempt: int
) -> None:
    browsers = []
    for _ in range(2):
        browser = Client()
        browser.force_login(maya)
        back = urlsplit(ontraport.consent(ontraport.press_connect(browser)))
        cookies = {name: morsel.value for name, morsel in browser.cookies.items()}
        browsers.append((f"{live_server.url}{back.path}?{back.query}", cookies))

    def come(browser: tuple[str, dict[str, str]]) -> requests.Response:
        return requests.get(browser[0], cookies=browser[1], allow_redirects=False, timeout=30)

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(come, browsers))
    assert [(each.status_code, each.headers["Location"]) for each in answers] == [(302, "/ontraport/")] * 2
    assert OntraportAccount.objects.count() == 1
    one_account.refresh(OntraportAccount.objects.get())


def test_a_grant_without_a_refresh_token_is_kept_until_it_ends(client: Client, maya: Any, sandbox: Sandbox) -> None:
    back = ontraport.consent(ontraport.press_connect(client))
    body = {"access_token": "access", "token_type": "bearer", "expires_in": 60}
    with hostile_server(KeepAlive(answer(json.dumps(body)))) as server:
        endpoints = {
            **sandbox.endpoints,
            "token_endpoint": f"{server.url}/token",
            "revocation_endpoint": f"{server.url}/r",
        }
        with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
            ontraport.come_back(client, back)
            account = OntraportAccount.objects.get()
            assert account.refresh_token is None
            assert account.refresh_at == account.expires_at
            linking.unlink(account)
        assert b"token=access&" in server.requests[-1]


@pytest.mark.parametrize("fault", ["500", "429", "nonsense"])
def test_an_exchange_that_fails_can_be_tried_again(
    client: Client, maya: Any, sandbox: Sandbox, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    back = ontraport.consent(ontraport.press_connect(client))
    sandbox.set(fault=fault, fault_target="token", fault_count=1)
    assert problem_of(ontraport.come_back(client, back)) == "unavailable"
    assert [record.levelname for record in caplog.records if record.name == "ontraport_connect"] == ["WARNING"]
    ontraport.link(client, sandbox)
    assert OntraportAccount.objects.exists()


def test_a_code_that_is_not_accepted_is_said_to_be_that(client: Client, maya: Any, sandbox: Sandbox) -> None:
    back = ontraport.consent(ontraport.press_connect(client)).replace("code=", "code=not")
    assert problem_of(ontraport.come_back(client, back)) == "code"


def test_a_wrong_client_secret_is_the_operators_turn(
    client: Client, maya: Any, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    back = ontraport.consent(ontraport.press_connect(client))
    with override_settings(ONTRAPORT_CLIENT_SECRET="canary-wrong"):
        assert problem_of(ontraport.come_back(client, back)) == "misconfigured"
    (record,) = [record for record in caplog.records if record.levelno >= logging.CRITICAL]
    assert "check ONTRAPORT_CLIENT_ID and ONTRAPORT_CLIENT_SECRET" in record.getMessage()
    assert "canary" not in caplog.text


def test_a_verifier_whose_key_is_gone_is_the_operators_turn(client: Client, maya: Any, sandbox: Sandbox) -> None:
    back = ontraport.consent(ontraport.press_connect(client))
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=["another key of more than 32 characters"]):
        assert problem_of(ontraport.come_back(client, back)) == "misconfigured"


@pytest.mark.parametrize(
    "setting",
    [
        {"ONTRAPORT_ENCRYPTION_KEYS": ["short"]},
        {"ONTRAPORT_REFRESH_MARGIN": "600"},
        {"ONTRAPORT_REFRESH_MARGIN": float("nan")},
        {"ONTRAPORT_TIMEOUT": (3.05, 0)},
        {"ONTRAPORT_CLIENT_ID": "https://" + "x" * 600},
    ],
    ids=["key", "text for a number", "no number", "no time to answer", "a client id that no column holds"],
)
def test_an_unfit_setting_is_noticed_before_the_code_is_spent(
    client: Client, maya: Any, sandbox: Sandbox, setting: dict[str, Any]
) -> None:
    back = ontraport.consent(ontraport.press_connect(client))
    with override_settings(**setting):
        assert problem_of(ontraport.come_back(client, back)) == "misconfigured"
    assert sandbox.state()["counts"]["token:authorization_code"] == 0


@override_settings(ONTRAPORT_ENDPOINTS="nowhere")
def test_a_site_that_is_not_set_up_sends_nobody_away(client: Client, maya: Any) -> None:
    response = client.post(reverse("ontraport_connect:connect"))
    assert problem_of(response) == "misconfigured"


@override_settings(ONTRAPORT_CLIENT_ID=None)
def test_beginning_without_any_client_id_raises(client: Client, maya: Any) -> None:
    owner = linking.Owner(user=maya, tenant=None)
    with pytest.raises(OntraportMisconfigured):
        linking.begin("browser", owner, redirect_uri="https://site/cb")


@pytest.mark.parametrize("tenant", [None, "south", "North"])
def test_an_owner_that_is_not_the_attempts_completes_nothing(maya: Any, sandbox: Sandbox, tenant: str | None) -> None:
    north = linking.Owner(user=maya, tenant="north")
    url = linking.begin("the browser", north, redirect_uri="http://127.0.0.1:8000/ontraport/callback/")
    parameters = {name: [value] for name, value in parse_qsl(urlsplit(ontraport.consent(url)).query)}
    with pytest.raises(LinkingFailed) as raised:
        linking.complete("the browser", linking.Owner(user=maya, tenant=tenant), parameters)
    assert raised.value.code == "switched_tenant"
    assert sandbox.state()["counts"]["token:authorization_code"] == 0
    account, _attempt = linking.complete("the browser", north, parameters)
    assert account.tenant == "north"


def test_a_receiver_that_raises_breaks_no_link(client: Client, maya: Any, sandbox: Sandbox) -> None:
    heard = []

    def listen(account: OntraportAccount, created: bool, **kwargs: Any) -> None:
        heard.append((account.ontraport_id, created))
        raise RuntimeError("a receiver's own mistake")

    account_linked.connect(listen)
    try:
        ontraport.link(client, sandbox)
        ontraport.link(client, sandbox)
    finally:
        account_linked.disconnect(listen)
    assert heard == [("187157", True), ("187157", False)]


def test_an_account_that_is_gone_already_is_let_go_once(client: Client, maya: Any, sandbox: Sandbox) -> None:
    ontraport.link(client, sandbox)
    first, second = OntraportAccount.objects.get(), OntraportAccount.objects.get()
    linking.unlink(first)
    linking.unlink(second)
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["linked", "disconnected"]
