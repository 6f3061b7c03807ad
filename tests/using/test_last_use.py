"""When an account was last used is noted, at most once an hour; one that nobody uses is refreshed once a day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.refreshing import one_account
from ontraport_connect.using.last_use import note_use
from tests.support import ontraport
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
MONTH = timedelta(days=30)


@pytest.fixture
def configured(sandbox: Sandbox) -> Iterator[Sandbox]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield sandbox


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


def used_at() -> Any:
    return OntraportAccount.objects.get().last_used_at


def writes(use: Callable[[], Any]) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        use()
    return sum("last_used_at" in each["sql"] and each["sql"].startswith("UPDATE") for each in queries)


def by_rest(account: OntraportAccount, sandbox: Sandbox) -> None:
    account.rest("GET", "objects", params={"objectID": 0})


def by_mcp(account: OntraportAccount, sandbox: Sandbox) -> None:
    account.mcp("count_objects", objectID="0")


def by_requests(account: OntraportAccount, sandbox: Sandbox) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.post(sandbox.url, json=PING, auth=account.auth()).raise_for_status()


def by_httpx(account: OntraportAccount, sandbox: Sandbox) -> None:
    with httpx.Client(auth=account.httpx_auth(), trust_env=False) as client:
        client.post(sandbox.url, json=PING).raise_for_status()


@pytest.mark.parametrize("use", [by_rest, by_mcp, by_requests, by_httpx])
def test_every_way_to_use_an_account_is_noted_once(
    use: Callable[[OntraportAccount, Sandbox], None], configured: Sandbox, account: OntraportAccount
) -> None:
    assert writes(lambda: use(account, configured)) == 1
    assert timedelta(0) <= timezone.now() - used_at() < timedelta(minutes=1)
    assert writes(lambda: use(account, configured)) == 0
    assert writes(lambda: use(OntraportAccount.objects.get(), configured)) == 0


def test_an_hour_later_it_is_noted_anew(account: OntraportAccount) -> None:
    OntraportAccount.objects.update(last_used_at=timezone.now() - timedelta(minutes=61))
    held_for_long = OntraportAccount.objects.get()
    note_use(OntraportAccount.objects.get())
    newest = used_at()
    assert timezone.now() - newest < timedelta(minutes=1)
    note_use(held_for_long)
    assert used_at() == newest


def test_neither_the_version_nor_a_lease_is_touched(account: OntraportAccount) -> None:
    until = timezone.now() + timedelta(seconds=30)
    OntraportAccount.objects.update(lease_owner="another", lease_until=until, version=7)
    note_use(account)
    row = OntraportAccount.objects.get()
    assert (row.version, row.lease_owner, row.lease_until) == (7, "another", until)
    assert row.last_used_at is not None
    assert account.changed() == set()


def test_an_account_that_is_not_stored_has_no_row_to_note_it_in(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        note_use(OntraportAccount(method=Method.API_KEY))


class Undone(Exception):
    """Rolls a transaction back."""


def test_a_transaction_that_is_rolled_back_is_not_disturbed(account: OntraportAccount) -> None:
    with suppress(Undone), transaction.atomic():
        note_use(account)
        assert OntraportAccount.objects.count() == 1
        raise Undone
    assert (used_at() is None) == (connection.vendor == "sqlite")


@pytest.mark.postgresql
def test_a_row_that_the_caller_holds_is_passed_over(account: OntraportAccount) -> None:
    with transaction.atomic():
        OntraportAccount.objects.update(label="renamed")
        note_use(account)
    assert OntraportAccount.objects.values_list("label", "last_used_at").get() == ("renamed", None)


def test_a_database_that_is_away_keeps_nobody_from_calling(account: OntraportAccount) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("the database system is shutting down")

    with connection.execute_wrapper(away):
        note_use(account)
    assert used_at() is None


def idle_account(sandbox: Sandbox, **values: Any) -> OntraportAccount:
    """An account that was linked, and last used, longer ago than a month."""
    account = linked_account(person("noor"), sandbox)
    then = timezone.now() - MONTH - timedelta(days=1)
    OntraportAccount.objects.update(linked_at=then, last_used_at=then, **values)
    return OntraportAccount.objects.get(pk=account.pk)


def hours_to_refresh() -> float:
    account: Any = OntraportAccount.objects.get()
    seconds: float = (account.refresh_at - timezone.now()).total_seconds()
    return seconds / 3600


@pytest.mark.parametrize(
    ("idle_after", "least", "most"), [(MONTH, 21, 24), (MONTH.total_seconds(), 21, 24), (None, 0, 1)]
)
def test_a_link_that_nobody_uses_is_refreshed_once_a_day(
    configured: Sandbox, idle_after: Any, least: float, most: float
) -> None:
    account = idle_account(configured)
    with override_settings(ONTRAPORT_IDLE_AFTER=idle_after):
        one_account.refresh(account)
    assert least < hours_to_refresh() < most


@override_settings(ONTRAPORT_IDLE_AFTER=MONTH)
def test_a_link_that_was_linked_anew_is_not_idle(configured: Sandbox) -> None:
    account = idle_account(configured)
    account.linked_at = timezone.now()
    account.save()
    one_account.refresh(account)
    assert hours_to_refresh() < 1


@override_settings(ONTRAPORT_IDLE_AFTER=MONTH)
@pytest.mark.parametrize("has_expired", [True, False])
def test_an_idle_link_that_is_used_is_refreshed_at_once_and_like_others_from_then_on(
    configured: Sandbox, has_expired: bool
) -> None:
    now = timezone.now()
    expires_at = now + timedelta(minutes=-5 if has_expired else 50)
    account = idle_account(configured, expires_at=expires_at, refresh_at=now + timedelta(hours=20))
    before = configured.state()["counts"]["token:refresh_token"] if has_expired else 0
    by_mcp(account, configured)
    after = configured.state()["counts"].get("token:refresh_token", 0)
    assert after - before == has_expired
    assert 0 < hours_to_refresh() < 1


@override_settings(ONTRAPORT_IDLE_AFTER=MONTH)
def test_an_idle_link_that_backs_off_goes_on_doing_so(configured: Sandbox) -> None:
    turn = timezone.now() + timedelta(hours=20)
    account = idle_account(configured, failures=1, last_error="http_500", refresh_at=turn)
    note_use(account)
    assert OntraportAccount.objects.get().refresh_at == turn
    assert used_at() > turn - timedelta(days=1)


def test_its_owner_and_support_see_when_it_was_used(account: OntraportAccount, admin_client: Client) -> None:
    owner = Client()
    owner.force_login(get_user_model().objects.get(username="maya"))
    pages = (
        (admin_client, f"/admin/ontraport_connect/ontraportaccount/{account.pk}/change/"),
        (owner, "/ontraport/"),
    )
    for client, address in pages:
        assert "June 5, 2024" not in client.get(address).content.decode()
    OntraportAccount.objects.update(last_used_at=timezone.now().replace(year=2024, month=6, day=5))
    for client, address in pages:
        page = client.get(address).content.decode()
        assert "ast used" in page
        assert "June 5, 2024" in page
