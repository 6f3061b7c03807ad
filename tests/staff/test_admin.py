"""The admin as support staff use it: its pages, its actions and its permissions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, OntraportRevocation, Status
from ontraport_connect.refreshing import circuit_breaker, one_account
from ontraport_connect.staff import admin_actions, bulk_operations
from tests.support import ontraport
from tests.support.linked import linked_account, person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/ontraport_connect/ontraportaccount/"
EVENTS = "/admin/ontraport_connect/ontraportevent/"
TOKENS = {"access_token": "an-access-token-to-find", "refresh_token": "a-refresh-token-to-find"}


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya", email="maya@shop.example")


@pytest.fixture
def support(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("support"))
    return client


@pytest.fixture
def viewer() -> Client:
    """A client logged in as staff with view permissions only."""
    user = get_user_model().objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_ontraport"))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def at_sandbox(sandbox: Sandbox) -> Iterator[Sandbox]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield sandbox


@pytest.fixture
def linked(maya: Any, at_sandbox: Sandbox) -> OntraportAccount:
    """An account with a live grant at the sandbox."""
    browser = Client()
    browser.force_login(maya)
    ontraport.link(browser, at_sandbox)
    account: OntraportAccount = OntraportAccount.objects.get(user=maya)
    return account


def make_account(user: Any = None, **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(user=user, **{**TOKENS, **values})
    return account


def text_of(response: Any) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def listed(response: Any) -> list[str]:
    return re.findall(r'class="ontraport-name">([^<]*)<', response.content.decode())


def act(client: Client, action: str, *accounts: OntraportAccount, **data: str) -> Any:
    values = {"action": action, "_selected_action": [account.pk for account in accounts], **data}
    return client.post(LIST, values, follow=True)


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_list_shows_states_and_no_secret(support: Client, maya: Any) -> None:
    make_account(maya, label="Well")
    make_account(maya, label="Failing", failures=2, last_error="timeout")
    make_account(maya, label="Ended", status=Status.NEEDS_RECONNECT, last_error="invalid_grant")
    page = support.get(LIST).content.decode()
    assert '<span class="ontraport-badge ontraport-connected">connected</span>' in page
    assert '<span class="ontraport-badge ontraport-having_trouble">having trouble</span>' in page
    assert '<span class="ontraport-badge ontraport-needs_reconnect">reconnect needed</span>' in page
    reasons = re.findall(r'<small class="ontraport-fact">([^<]+<code>\w+</code>\))', page)
    assert reasons == [
        "Ontraport no longer accepts our access (<code>invalid_grant</code>)",
        "couldn&#x27;t reach Ontraport (<code>timeout</code>)",
    ]
    assert "ontraport_connect/admin.css" in page
    assert "to-find" not in page


def test_list_decrypts_nothing_and_takes_constant_queries(support: Client, maya: Any) -> None:
    make_account(maya, tenant="acme")
    support.get(LIST)
    with CaptureQueriesContext(
        connection,
    ) as few:
        support.get(LIST)
    for number in range(20):
        make_account(maya, label=str(number), tenant=f"tenant-{number}")
    with CaptureQueriesContext(connection) as many:
        support.get(LIST)
    assert len(many) == len(few)
    assert not any("access_token" in query["sql"] for query in many.captured_queries)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=connected", ["Other", "Expired", "Expiring"]),
        ("state=needs_reconnect", ["Ended"]),
        ("method__exact=api_key", ["Other"]),
        ("tenant=acme", ["Other"]),
        ("state=having_trouble", ["Failing"]),
        ("state=expiring", ["Expiring"]),
        ("state=expired", ["Expired"]),
        ("state=inactive", ["Failing"]),
        ("state=paused", []),
        ("state=nonsense", ["Other", "Ended", "Expired", "Expiring", "Failing"]),
        ("q=maya", ["Ended", "Expired", "Expiring"]),
        ("q=SHOP.example", ["Ended", "Expired", "Expiring"]),
        ("q=Expir", ["Expired", "Expiring"]),
        ("q=187157", ["Expired"]),
        ("q=acme", ["Other"]),
        ("q=00000000-0000-0000-0000-000000000007", ["Other"]),
        ("q=nobody", []),
    ],
)
def test_list_is_narrowed_by_filters_and_search(support: Client, maya: Any, query: str, found: list[str]) -> None:
    now = timezone.now()
    gone = get_user_model().objects.create_user("gone", is_active=False)
    make_account(gone, label="Failing", failures=1)
    make_account(maya, label="Expiring", expires_at=now + timedelta(minutes=30))
    make_account(maya, label="Expired", expires_at=now - timedelta(minutes=30), ontraport_id="187157")
    make_account(maya, label="Ended", status=Status.NEEDS_RECONNECT, expires_at=now)
    make_account(label="Other", method=Method.API_KEY, tenant="acme", uid="00000000-0000-0000-0000-000000000007")
    assert listed(support.get(f"{LIST}?{query}")) == found


def test_tenants_are_offered_where_there_are_any(support: Client, maya: Any) -> None:
    make_account(maya)
    assert "?tenant=" not in support.get(LIST).content.decode()
    make_account(tenant="acme")
    make_account(tenant="acme")
    make_account(tenant="zebra")
    assert re.findall(r"\?tenant=(\w+)", support.get(LIST).content.decode()) == ["acme", "zebra"]


def test_tenants_have_a_column_where_links_belong_to_them(support: Client) -> None:
    make_account(tenant="acme", label="Shared")
    assert "column-tenant" not in support.get(LIST).content.decode()
    with override_settings(ONTRAPORT_TENANT="tests.staff.test_admin.listed"):
        assert "column-tenant" in support.get(LIST).content.decode()


def test_detail_shows_the_history_and_no_secret(support: Client, maya: Any) -> None:
    account = make_account(maya, label="Harbour Street Coffee")
    OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.objects.update(actor="maya")
    OntraportEvent.record(account, EventKind.REFRESH_FAILING, "timeout")
    page = support.get(f"{LIST}{account.pk}/change/")
    text = text_of(page)
    assert re.search(
        r"just now refresh failing : couldn't reach Ontraport \( timeout \) .+ connected , by maya Owner", text
    )
    assert str(account.uid) in text
    assert "to-find" not in page.content.decode()
    assert "Nothing yet." in text_of(support.get(f"{LIST}{make_account(maya).pk}/change/"))


def test_label_can_be_changed_and_nothing_else(support: Client, maya: Any) -> None:
    account = make_account(maya, label="Old")
    support.post(f"{LIST}{account.pk}/change/", {"label": "New", "tenant": "stolen", "is_default": "on"})
    account.refresh_from_db()
    assert (account.label, account.tenant, account.is_default) == ("New", "", False)
    assert account.access_token.reveal() == TOKENS["access_token"]


def test_nobody_adds_an_account_by_hand(support: Client) -> None:
    assert support.get(f"{LIST}add/").status_code == 403


def test_refresh_reports_the_outcome_for_each_account(support: Client, maya: Any, linked: OntraportAccount) -> None:
    ended = make_account(maya, label="Ended", status=Status.NEEDS_RECONNECT)
    revoked = make_account(maya, label="Revoked", refresh_token="unknown")
    pair = make_account(tenant="acme", label="Pair", method=Method.API_KEY)
    inactive = make_account(get_user_model().objects.create_user("gone", is_active=False), label="Inactive")
    before = linked.access_token.reveal()
    response = act(support, "refresh_now", linked, ended, revoked, pair, inactive)
    linked.refresh_from_db()
    assert linked.access_token.reveal() != before
    assert OntraportAccount.objects.get(pk=ended.pk).refresh_at == ended.refresh_at
    assert sorted(said(response)) == [
        "Ended (maya): Ontraport no longer accepts it. The owner needs to reconnect.",
        f"{linked} (maya): refreshed.",
        "Inactive (gone): skipped: refreshing is paused, or the owner is inactive.",
        "Pair (acme): uses an API key, which will be checked within a minute.",
        "Revoked (maya): Ontraport no longer accepts it. The owner needs to reconnect.",
    ]
    assert LogEntry.objects.filter(object_id=str(linked.pk), change_message="Refresh: refreshed.").exists()


def test_refresh_that_fails_says_when_it_is_tried_again(
    support: Client, linked: OntraportAccount, sandbox: Sandbox
) -> None:
    sandbox.set(fault="500", fault_target="token")
    (message,) = said(act(support, "refresh_now", linked))
    assert re.fullmatch(r".*: couldn't be refreshed \(http_500\)\. Next try at .+ UTC\.", message)


def test_refresh_under_a_hold_leaves_the_account_alone(support: Client, linked: OntraportAccount) -> None:
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    (message,) = said(act(support, "refresh_now", linked))
    assert "refreshing is paused" in message
    linked.refresh_from_db()
    assert linked.is_connected


def test_refresh_reports_an_account_that_was_deleted_meanwhile(maya: Any) -> None:
    account = make_account(maya)
    OntraportAccount.objects.all().delete()
    (outcome,) = bulk_operations.refresh([account])
    assert (outcome.text, outcome.is_well) == ("was disconnected meanwhile.", False)
    assert bulk_operations.name_with_owner(make_account()) == "Ontraport"


def test_many_are_refreshed_in_the_background(support: Client, maya: Any) -> None:
    accounts = [make_account(maya, label=str(number)) for number in range(bulk_operations.INLINE_LIMIT + 1)]
    response = act(support, "refresh_now", *accounts)
    assert said(response) == ["21 accounts queued for refresh."]
    assert OntraportAccount.objects.due().count() == 21


def test_refresh_from_the_page_of_an_account(support: Client, viewer: Client, linked: OntraportAccount) -> None:
    url = f"{LIST}{linked.pk}/refresh/"
    assert url in support.get(f"{LIST}{linked.pk}/change/").content.decode()
    response = support.post(url, follow=True)
    assert said(response) == [f"{linked} (maya): refreshed."]
    assert response.redirect_chain == [(f"{LIST}{linked.pk}/change/", 302)]
    assert [support.get(url).status_code, support.post(f"{LIST}999999/refresh/").status_code] == [405, 404]
    assert viewer.post(url).status_code == 403


def test_disconnect_asks_first_and_then_ends_the_grant(
    support: Client, linked: OntraportAccount, sandbox: Sandbox
) -> None:
    alive = living_grants(sandbox)
    page = act(support, "disconnect", linked)
    assert f"This account will be disconnected: {linked} · 187157 · maya" in text_of(page)
    assert OntraportAccount.objects.exists()
    response = act(support, "disconnect", linked, post="yes")
    assert said(response) == [f"{linked} (maya): disconnected."]
    assert not OntraportAccount.objects.exists()
    assert living_grants(sandbox) == alive - 1
    assert LogEntry.objects.filter(object_id=str(linked.pk)).exists()
    assert OntraportEvent.objects.filter(account_uid=linked.uid, kind=EventKind.DISCONNECTED).exists()


def test_disconnect_of_one_of_several_says_that_ontraport_keeps_the_access(
    support: Client, linked: OntraportAccount, sandbox: Sandbox
) -> None:
    other = linked_account(person("tomas"), sandbox)
    response = act(support, "disconnect", linked, post="yes")
    assert said(response) == [
        f"{linked} (maya): disconnected.",
        f"{linked} (maya): Ontraport keeps the access, because another connection on this site uses it.",
    ]
    refreshing.refresh(other)


@pytest.mark.parametrize(("endpoints", "is_promised"), [("ontraport", True), ("guide", False)])
def test_disconnect_promises_no_revocation_where_there_is_no_endpoint_for_it(
    support: Client, maya: Any, endpoints: str, is_promised: bool
) -> None:
    account = make_account(maya)
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
        pages = [text_of(act(support, "disconnect", account)), text_of(support.get(f"{LIST}{account.pk}/delete/"))]
    for page in pages:
        assert ("We ask Ontraport to end our access." in page) == is_promised
        assert ("We can't ask Ontraport" in page) != is_promised


def living_grants(sandbox: Sandbox) -> int:
    return sum(grant["alive"] for grant in sandbox.state()["grants"])


def test_disconnect_while_ontraport_is_away_reports_pending_revocations(
    support: Client, maya: Any, linked: OntraportAccount, sandbox: Sandbox
) -> None:
    other = make_account(maya, label="Other", tenant="acme")
    sandbox.set(fault="500", fault_target="revoke")
    response = act(support, "disconnect", linked, other, post="yes")
    assert said(response) == [
        "Other (acme): disconnected.",
        f"{linked} (maya): disconnected.",
        "2 revocations are waiting to be sent to Ontraport. The scheduler takes care of them.",
    ]
    assert sorted(OntraportRevocation.objects.values_list("attempts", flat=True)) == [0, 1]


def test_rolled_back_disconnect_leaves_the_grant_alive(linked: OntraportAccount, sandbox: Sandbox) -> None:
    alive = living_grants(sandbox)
    with suppress(ZeroDivisionError), transaction.atomic():
        assert bulk_operations.disconnect_accounts([linked]) == 1
        raise ZeroDivisionError
    assert living_grants(sandbox) == alive
    account = OntraportAccount.objects.get()
    one_account.refresh(account)
    assert bulk_operations.disconnect_accounts([account]) == 0
    assert living_grants(sandbox) == alive - 1


def test_disconnect_under_atomic_requests_revokes_after_the_commit_and_says_that_it_is_to_be_done(
    support: Client, linked: OntraportAccount, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = living_grants(sandbox)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    response = act(support, "disconnect", linked, post="yes")
    assert said(response) == [
        f"{linked} (maya): disconnected.",
        "1 revocation is waiting to be sent to Ontraport. The scheduler takes care of it.",
    ]
    assert living_grants(sandbox) == alive - 1


def test_slow_ontraport_leaves_the_rest_to_the_beat_task(maya: Any, at_sandbox: Sandbox) -> None:
    accounts = [make_account(maya, label=str(number)) for number in range(3)]
    assert bulk_operations.disconnect_accounts(accounts, seconds=-1) == 3
    assert set(OntraportRevocation.objects.values_list("attempts", flat=True)) == {0}


def test_many_are_disconnected_at_once_and_revoked_in_the_background(support: Client, maya: Any) -> None:
    accounts = [make_account(maya, label=str(number)) for number in range(bulk_operations.INLINE_LIMIT + 1)]
    response = act(support, "disconnect", *accounts, post="yes")
    assert said(response) == [
        "21 accounts disconnected.",
        "21 revocations are waiting to be sent to Ontraport. The scheduler takes care of them.",
    ]
    assert not OntraportAccount.objects.exists()
    assert set(OntraportRevocation.objects.values_list("attempts", flat=True)) == {0}


def test_too_many_are_not_disconnected_at_once(support: Client, maya: Any, settings: Any) -> None:
    OntraportAccount.objects.bulk_create(
        [OntraportAccount(user=maya) for _ in range(admin_actions.MAX_DISCONNECTED + 1)]
    )
    response = act(support, "disconnect", OntraportAccount.objects.all()[0], select_across="1")
    assert said(response) == ["You can disconnect up to 500 accounts at once. Narrow the list first."]


def test_disconnect_from_the_page_of_an_account(support: Client, linked: OntraportAccount, sandbox: Sandbox) -> None:
    alive = living_grants(sandbox)
    url = f"{LIST}{linked.pk}/delete/"
    page = support.get(f"{LIST}{linked.pk}/change/").content.decode()
    assert f'<a href="{url}">Disconnect…</a>' in page
    assert "deletelink" not in page
    assert f"This account will be disconnected: {linked}" in text_of(support.get(url))
    support.post(url, {"post": "yes"})
    assert not OntraportAccount.objects.exists()
    assert living_grants(sandbox) == alive - 1


def test_staff_with_view_permission_only_can_change_nothing(viewer: Client, maya: Any) -> None:
    account = make_account(maya, label="Harbour Street Coffee")
    OntraportEvent.record(account, EventKind.LINKED)
    page = viewer.get(f"{LIST}{account.pk}/change/").content.decode()
    assert "Harbour Street Coffee" in page
    assert not re.search(r"Refresh now|Disconnect|name=\"label\"|_save", page)
    assert re.findall(r'<option value="(\w+)"', viewer.get(LIST).content.decode()) == ["export"]
    for action in ("refresh_now", "disconnect"):
        act(viewer, action, account, post="yes")
    assert viewer.post(f"{LIST}{account.pk}/change/", {"label": "Mine"}).status_code == 403
    assert viewer.post(f"{LIST}{account.pk}/delete/", {"post": "yes"}).status_code == 403
    now = OntraportAccount.objects.get()
    assert (now.label, now.refresh_at) == ("Harbour Street Coffee", account.refresh_at)


def test_staff_without_permission_sees_nothing(client: Client, maya: Any) -> None:
    client.force_login(get_user_model().objects.create_user("other", is_staff=True))
    account = make_account(maya)
    paths = [LIST, f"{LIST}glance/", f"{LIST}{account.pk}/change/", EVENTS]
    assert [client.get(path).status_code for path in paths] == [403, 403, 403, 403]
    assert client.post(f"{LIST}{account.pk}/refresh/").status_code == 403


@pytest.mark.parametrize("codename", ["view_ontraportevent", "change_ontraportevent", None])
def test_history_is_shown_to_staff_with_its_permission_only(client: Client, maya: Any, codename: str | None) -> None:
    user = get_user_model().objects.create_user("other", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_ontraportaccount", codename]))
    client.force_login(user)
    account = make_account(maya)
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT, "spent-in-a-crash")
    pages = [client.get(f"{LIST}{account.pk}/change/"), client.get(f"{LIST}glance/")]
    assert [page.status_code for page in pages] == [200, 200]
    shown = [("spent-in-a-crash" in text_of(page), "Latest failures" in text_of(page)) for page in pages]
    assert shown == ([(True, False), (True, True)] if codename else [(False, False), (False, False)])
    assert ("Events:" in text_of(pages[0])) is bool(codename)


def test_events_outlive_their_account_and_are_read_only(support: Client, maya: Any) -> None:
    account = make_account(maya)
    OntraportEvent.record(account, EventKind.LINKED)
    account.delete()
    page = support.get(f"{EVENTS}?q={account.uid}")
    assert [kind in text_of(page) for kind in ("connected", "disconnected")] == [True, True]
    assert support.get(f"{EVENTS}?q=nowhere").context["cl"].result_count == 0
    event = OntraportEvent.objects.all()[0]
    assert support.get(f"{EVENTS}{event.pk}/change/").status_code == 200
    assert support.post(f"{EVENTS}{event.pk}/change/", {"detail": "rewritten"}).status_code == 403
    assert support.post(f"{EVENTS}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    assert support.get(f"{EVENTS}add/").status_code == 403


def test_pages_hold_no_inline_style_or_script_of_ours(
    support: Client, maya: Any, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    account = make_account(maya)
    OntraportEvent.record(account, EventKind.LINKED)
    glance = reverse("admin:ontraport_connect_ontraportaccount_glance")
    for url in (glance, f"{LIST}{account.pk}/delete/"):
        page = support.get(url).content.decode()
        assert not re.search(r" style=|<style|<script(?![^>]* src=)| on\w+=", page), url
