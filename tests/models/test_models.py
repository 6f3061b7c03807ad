"""The rows: what saving one may do to its secrets, and who may see it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core import serializers
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.http import HttpRequest
from django.test import RequestFactory, override_settings
from django.utils import timezone

from ontraport_connect.models import (
    EventKind,
    OntraportAccount,
    OntraportAttempt,
    OntraportEvent,
    OntraportRevocation,
    OntraportService,
    Status,
    refresh_delay,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya")


@pytest.fixture
def account(maya: Any) -> OntraportAccount:
    created: OntraportAccount = OntraportAccount.objects.create(
        user=maya, access_token="access-1", refresh_token="refresh-1", expires_at=timezone.now() + timedelta(hours=1)
    )
    return OntraportAccount.objects.get(pk=created.pk)


def tenant_from_header(request: HttpRequest) -> str | None:
    return request.headers.get("X-Tenant")


@pytest.mark.parametrize(
    ("lifetime", "delay"),
    [(30 * 86400, 7 * 86400), (86400, 85800), (3600, 3000), (1200, 600), (900, 450), (601, 300.5), (60, 30)],
)
def test_a_token_is_refreshed_a_margin_before_its_end_or_at_half_of_its_life(lifetime: float, delay: float) -> None:
    assert refresh_delay(lifetime) == delay


def test_imported_tokens_are_scheduled(account: OntraportAccount) -> None:
    assert account.refresh_at is not None
    assert timedelta(minutes=49) < account.refresh_at - timezone.now() < timedelta(minutes=51)


@pytest.mark.parametrize("remaining", [timedelta(hours=-1), timedelta(minutes=9), None])
def test_an_imported_token_that_ends_soon_or_nobody_knows_when_is_due_at_once(maya: Any, remaining: Any) -> None:
    expires_at = None if remaining is None else timezone.now() + remaining
    account = OntraportAccount.objects.create(user=maya, access_token="a", refresh_token="r", expires_at=expires_at)
    assert list(OntraportAccount.objects.due()) == [account]


def test_a_schedule_that_is_given_is_kept(maya: Any) -> None:
    at = timezone.now() + timedelta(days=1)
    account = OntraportAccount.objects.create(user=maya, refresh_token="r", expires_at=at, refresh_at=at)
    assert account.refresh_at == at
    account.expires_at = account.refresh_at = at + timedelta(days=1)
    account.save()
    assert OntraportAccount.objects.get().refresh_at == at + timedelta(days=1)


@pytest.mark.parametrize("names_all", [False, True])
def test_an_account_read_before_a_refresh_cannot_bring_the_spent_token_back(
    account: OntraportAccount, *, names_all: bool
) -> None:
    stale = OntraportAccount.objects.get(pk=account.pk)
    account.refresh_token = "refresh-2"
    account.save()
    stale.label = "Shop"
    fields = [field.name for field in stale._meta.concrete_fields if not field.primary_key]
    stale.save(update_fields=fields if names_all else None)
    current = OntraportAccount.objects.get(pk=account.pk)
    assert (current.label, current.refresh_token.reveal()) == ("Shop", "refresh-2")


def test_assigning_a_token_moves_the_version_on(account: OntraportAccount) -> None:
    stale = OntraportAccount.objects.get(pk=account.pk)
    account.access_token = "access-2"
    account.save(update_fields=["access_token"])
    stale.refresh_token = "refresh-2"
    stale.save()
    assert (account.version, stale.version, OntraportAccount.objects.get().version) == (1, 2, 2)


def test_a_change_of_the_expiry_takes_nothing_from_a_refresh_in_flight(account: OntraportAccount) -> None:
    account.expires_at = timezone.now()
    account.save()
    current = OntraportAccount.objects.get()
    assert (current.version, list(OntraportAccount.objects.due())) == (0, [account])


def test_an_account_made_in_bulk_can_be_saved(maya: Any) -> None:
    made = OntraportAccount(user=maya, access_token="access-1", refresh_token="refresh-1", refresh_at=timezone.now())
    OntraportAccount.objects.bulk_create([made])
    made.label = "Shop"
    made.save()
    current = OntraportAccount.objects.get()
    assert (current.label, current.refresh_token.reveal()) == ("Shop", "refresh-1")


def test_a_partial_save_does_not_forget_what_else_was_changed(account: OntraportAccount) -> None:
    account.label, account.scope = "Shop", "mcp:tools"
    account.save(update_fields=["scope"])
    account.refresh_from_db(fields=["scope"])
    account.save()
    assert OntraportAccount.objects.get().label == "Shop"


def test_saving_an_unchanged_account_writes_nothing(account: OntraportAccount, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        account.save()


def test_adopting_keeps_what_a_person_edited(account: OntraportAccount) -> None:
    current = OntraportAccount.objects.get(pk=account.pk)
    current.refresh_token = "refresh-2"
    current.save()
    account.label, account.last_error = "Shop", "timeout"
    account.adopt(current)
    assert (account.label, account.last_error, account.refresh_token.reveal()) == ("Shop", "", "refresh-2")
    account.save()
    assert OntraportAccount.objects.get().label == "Shop"


def test_validity_counts_to_the_second(account: OntraportAccount) -> None:
    assert account.is_valid_for(3500)
    assert not account.is_valid_for(3700)
    account.expires_at = None
    assert account.is_valid_for(10**9)


def test_the_person_or_the_tenant_of_the_request_decides_what_is_seen(maya: Any) -> None:
    own = OntraportAccount.objects.create(user=maya)
    shared = OntraportAccount.objects.create(user=maya, tenant="north")
    request = RequestFactory().get("/")
    request.user = maya
    assert list(OntraportAccount.objects.for_request(request)) == [own]
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.tenant_from_header"):
        assert not OntraportAccount.objects.for_request(request)
        request = RequestFactory().get("/", headers={"X-Tenant": "north"})
        request.user = maya
        assert list(OntraportAccount.objects.for_request(request)) == [shared]
        request = RequestFactory().get("/", headers={"X-Tenant": "North"})
        request.user = maya
        assert not OntraportAccount.objects.for_request(request)


def test_nobody_sees_anything_without_being_signed_in_and_active(maya: Any) -> None:
    OntraportAccount.objects.create(user=maya)
    request = RequestFactory().get("/")
    assert not OntraportAccount.objects.for_request(request)
    request.user = AnonymousUser()
    assert not OntraportAccount.objects.for_request(request)
    maya.is_active = False
    request.user = maya
    assert not OntraportAccount.objects.for_request(request)


def test_links_of_a_person_go_with_the_person_and_links_of_a_tenant_stay(maya: Any) -> None:
    OntraportAccount.objects.create(user=maya)
    shared = OntraportAccount.objects.create(user=maya, tenant="north")
    maya.delete()
    assert list(OntraportAccount.objects.all()) == [shared]
    assert OntraportAccount.objects.get().user is None


def test_only_accounts_of_active_people_and_of_tenants_are_usable(maya: Any) -> None:
    OntraportAccount.objects.create(user=maya)
    shared = OntraportAccount.objects.create(user=maya, tenant="north")
    get_user_model().objects.update(is_active=False)
    assert list(OntraportAccount.objects.usable()) == [shared]


def test_history_outlives_the_account(account: OntraportAccount) -> None:
    OntraportEvent.record(account, EventKind.LINKED)
    uid = account.uid
    account.delete()
    history: list[Any] = list(OntraportEvent.objects.filter(account_uid=uid).values_list("kind", "account"))
    assert history == [
        ("disconnected", None),
        ("linked", None),
    ]


def test_a_dump_holds_ciphertext_and_loads_again(account: OntraportAccount) -> None:
    dump = serializers.serialize("json", OntraportAccount.objects.all())
    assert "access-1" not in dump
    assert "refresh-1" not in dump
    OntraportAccount.objects.all().delete()
    for restored in serializers.deserialize("json", dump):
        restored.save()
    assert OntraportAccount.objects.get(uid=account.uid).refresh_token.reveal() == "refresh-1"
    assert json.loads(dump)[0]["fields"]["app_id"] is None


def test_the_column_holds_neither_the_token_nor_a_pickle(account: OntraportAccount) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_token FROM ontraport_connect_ontraportaccount")
        stored = bytes(cursor.fetchone()[0])
    assert b"access-1" not in stored
    assert stored[:1] == b"\x01"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (OntraportAccount(), "Ontraport"),
        (OntraportAccount(ontraport_id="187157"), "Ontraport 187157"),
        (OntraportAccount(label="Shop", ontraport_id="187157"), "Shop"),
        (OntraportService(), "open"),
        (OntraportService(hold_code="rate_limited"), "rate_limited"),
    ],
)
def test_rows_are_named_for_people(row: Any, text: str) -> None:
    assert str(row) == text


def test_rows_name_no_secret() -> None:
    uid = uuid4()
    at = timezone.now()
    named = (
        OntraportEvent(kind=EventKind.LINKED, at=at),
        OntraportAttempt(digest="0" * 64, started_at=at),
        OntraportRevocation(account_uid=uid, refresh_token="refresh-1"),
    )
    assert [str(row) for row in named] == [f"{at:%Y-%m-%d %H:%M} linked", f"started {at:%Y-%m-%d %H:%M}", f"{uid} (0)"]
    assert not any("refresh-1" in repr(row) for row in named)


def test_is_connected_follows_the_status(account: OntraportAccount) -> None:
    assert account.is_connected
    account.status = Status.NEEDS_RECONNECT
    assert not account.is_connected


def test_a_user_who_is_gone_is_an_error_where_a_constraint_keeps_the_key_true() -> None:
    with pytest.raises(ObjectDoesNotExist):
        _ = OntraportAccount(user_id=10**6).user
