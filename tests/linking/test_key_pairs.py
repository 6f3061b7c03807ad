"""Linking with a key pair, which is verified before it is stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import pre_save
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect import linking
from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.linking import Owner, key_pairs
from ontraport_connect.models import Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.signals import account_linked
from tests.support import ontraport
from tests.support.answering import Answering, Reply, as_json, envelope
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

APP_ID, API_KEY = "2_187157_sandbox", "sandbox-key-owner"
AGENCY = ("2_204211_sandbox", "sandbox-key-agency")


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya() -> Any:
    return person("maya")


def link(user: Any, app_id: str = APP_ID, api_key: str = API_KEY, **values: Any) -> OntraportAccount:
    return key_pairs.link_key_pair(
        Owner(user=user, tenant=None), app_id=Secret(app_id), api_key=Secret(api_key), **values
    )


def test_a_customer_pastes_a_pair_uses_it_and_lets_go(client: Client, maya: Any, sandbox: Sandbox) -> None:
    client.force_login(maya)
    page = client.post(
        reverse("ontraport_connect:connect_key"), {"app_id": APP_ID, "api_key": API_KEY, "label": "Shop"}
    )
    assert (page.status_code, page["Location"]) == (302, reverse("ontraport_connect:accounts"))
    account = OntraportAccount.objects.get(user=maya)
    assert (account.method, account.ontraport_id, account.label) == (Method.API_KEY, "187157", "Shop")
    assert (account.is_default, account.expires_at, account.status) == (True, None, Status.CONNECTED)
    assert account.rest("GET", "objects", params={"objectID": 0, "range": 1})["data"][0]["firstname"] == "Amara"
    linking.unlink(account)
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["linked", "disconnected"]
    assert sandbox.state()["counts"]["revoke"] == 0


def test_who_was_deactivated_meanwhile_links_nothing(client: Client, maya: Any) -> None:
    with override_settings(AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.AllowAllUsersModelBackend"]):
        client.force_login(maya)
        maya.is_active = False
        maya.save()
        page = client.post(reverse("ontraport_connect:connect_key"), {"app_id": APP_ID, "api_key": API_KEY})
    assert (page.status_code, page["Location"].partition("?")[0]) == (302, "/admin/login/")
    assert not OntraportAccount.objects.exists()


REFUSALS: list[tuple[Reply | None, str, str]] = [
    (Reply(status=401, body=b"Your App ID and API Key do not authenticate."), "key_refused", "check both"),
    (Reply(status=403), "key_forbidden", "allowed to read contacts"),
    (Reply(status=500), "unavailable", "can't check keys right now"),
    (Reply(status=429), "unavailable", "can't check keys right now"),
    (Reply(status=302, headers={"Location": "https://elsewhere.example/"}), "unavailable", "can't check keys"),
    (Reply(body=b"<h1>?</h1>"), "unavailable", "can't check keys"),
    (as_json(["account_id"]), "unavailable", "can't check keys"),
    (envelope({}, account_id=None), "unavailable", "can't check keys"),
    (envelope({}, account_id=True), "unavailable", "can't check keys"),
    (envelope({}, account_id="1" * 41), "unavailable", "can't check keys"),
    (None, "unavailable", "couldn't reach Ontraport"),
]


@pytest.mark.parametrize(("reply", "code", "words"), REFUSALS)
def test_nothing_is_stored_for_a_pair_that_was_not_proven(
    maya: Any, reply: Reply | None, code: str, words: str
) -> None:
    with (
        Answering(lambda asked: reply) as server,
        override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"),
        pytest.raises(LinkingFailed, match=words) as raised,
    ):
        link(maya)
    assert (raised.value.code, OntraportAccount.objects.count()) == (code, 0)


def test_an_insecure_address_is_the_operators_to_mend(maya: Any, caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(ONTRAPORT_REST_URL="http://api.ontraport.com/1/"), pytest.raises(LinkingFailed) as raised:
        link(maya)
    assert raised.value.code == "misconfigured"
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]


@pytest.mark.parametrize("keys", [["short"], [None], 7, "a-key-of-32-characters-or-more-that-is-no-list"])
def test_with_an_unfit_encryption_key_nothing_is_asked_stored_or_a_server_error(
    client: Client, maya: Any, sandbox: Sandbox, keys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client.force_login(maya)
    account = linked_account(maya, sandbox)
    caplog.clear()
    name = "ontraport_connect:"
    with Answering(lambda asked: Reply()) as server, override_settings(ONTRAPORT_ENCRYPTION_KEYS=keys):
        with override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"):
            page = client.post(reverse(f"{name}connect_key"), {"app_id": APP_ID, "api_key": API_KEY})
        assert server.asked == []
        assert page.status_code == 422
        assert "t set up correctly" in page.content.decode()
        assert "CRITICAL" in [record.levelname for record in caplog.records]
        assert OntraportAccount.objects.get() == account
        assert client.get(reverse(f"{name}accounts")).status_code == 200
        assert client.post(reverse(f"{name}connect"))["Location"] == reverse(f"{name}problem", args=["misconfigured"])
        again = client.post(reverse(f"{name}reconnect", args=[account.uid]))
        assert again["Location"] == reverse(f"{name}problem", args=["misconfigured"])
        assert client.post(reverse(f"{name}disconnect", args=[account.uid])).status_code == 302
        assert not OntraportAccount.objects.exists()


def test_the_page_says_what_is_wrong_and_never_shows_the_key(client: Client, maya: Any) -> None:
    client.force_login(maya)
    pasted = {"app_id": APP_ID, "api_key": "not-this-one", "label": "Shop"}
    page = client.post(reverse("ontraport_connect:connect_key"), pasted)
    assert page.status_code == 422
    assert "check both" in page.content.decode()
    assert "not-this-one" not in page.content.decode()
    assert APP_ID in page.content.decode()


def test_a_pair_that_is_pasted_again_mends_the_link_in_place(maya: Any) -> None:
    heard: list[bool] = []
    account_linked.connect(lambda created, **kwargs: heard.append(created), weak=False, dispatch_uid="heard")
    first = link(maya, label="Shop")
    OntraportAccount.objects.update(status=Status.NEEDS_RECONNECT, last_error="key_refused", failures=3)
    again = link(maya, account=OntraportAccount.objects.get())
    account_linked.disconnect(dispatch_uid="heard")
    assert (again.pk, again.uid, again.label) == (first.pk, first.uid, "Shop")
    stored = OntraportAccount.objects.get()
    assert (stored.status, stored.last_error, stored.failures) == (Status.CONNECTED, "", 0)
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["linked", "reconnected"]
    assert heard == [True, False]
    assert link(maya, label="Renamed").label == "Renamed"


def test_the_keys_of_another_ontraport_account_are_refused_with_the_reason(maya: Any) -> None:
    account = link(maya)
    with pytest.raises(LinkingFailed, match=r"belongs to Ontraport account 204211.*for account 187157") as raised:
        link(maya, *AGENCY, account=account)
    assert raised.value.code == "different_account"
    assert OntraportAccount.objects.get().access_token.reveal() == API_KEY


def test_a_link_that_was_removed_meanwhile_does_not_come_back(maya: Any) -> None:
    account = link(maya)
    linking.unlink(OntraportAccount.objects.get())
    with pytest.raises(LinkingFailed) as raised:
        link(maya, account=account)
    assert (raised.value.code, OntraportAccount.objects.count()) == ("gone", 0)


def test_one_owner_links_several_accounts_and_the_first_is_the_default(maya: Any, sandbox: Sandbox) -> None:
    first, second = link(maya), link(maya, *AGENCY)
    third = linked_account(maya, sandbox)
    assert [first.is_default, second.is_default, third.is_default] == [True, False, False]
    assert link(person("tomas")).is_default
    assert link(maya).pk == first.pk


def test_a_tenant_and_its_members_have_links_of_their_own(maya: Any) -> None:
    own = link(maya)
    shared = key_pairs.link_key_pair(Owner(user=maya, tenant="harbour"), app_id=Secret(APP_ID), api_key=Secret(API_KEY))
    by_a_colleague = key_pairs.link_key_pair(
        Owner(user=person("tomas"), tenant="harbour"), app_id=Secret(APP_ID), api_key=Secret(API_KEY)
    )
    assert own.pk != shared.pk == by_a_colleague.pk


def test_a_pair_that_is_pasted_in_two_tabs_at_once_is_one_link(maya: Any) -> None:
    both = threading.Barrier(2)

    def paste(_: int) -> int:
        try:
            both.wait(5)
            return link(maya).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        pks = set(threads.map(paste, range(2)))
    assert pks == set(OntraportAccount.objects.values_list("pk", flat=True))
    assert len(pks) == 1


def test_a_pair_that_is_linked_at_this_very_moment_is_found_in_the_second_place(maya: Any) -> None:
    attempts: list[str] = []

    def link_it_first(instance: OntraportAccount, **kwargs: Any) -> None:
        attempts.append(instance.label)
        if len(attempts) == 1:
            key_account(maya, label="first")

    pre_save.connect(link_it_first, sender=OntraportAccount, dispatch_uid="first")
    try:
        link(maya, label="second")
    finally:
        pre_save.disconnect(sender=OntraportAccount, dispatch_uid="first")
    assert attempts == ["second", "first", "second"]
    assert OntraportAccount.objects.get().label == "second"
