"""Times and words of the history in the admin: on the account's pages, and in the list of all events."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client, override_settings

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent

pytestmark = pytest.mark.django_db

LIST = "/admin/ontraport_connect/ontraportaccount/"
EVENTS = "/admin/ontraport_connect/ontraportevent/"


@pytest.fixture
def account() -> OntraportAccount:
    user = get_user_model().objects.create_user("maya")
    account: OntraportAccount = OntraportAccount.objects.create(user=user, label="Shop", linked_at=at_noon())
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT, "invalid_grant")
    OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.objects.update(at=at_noon())
    return account


def at_noon() -> datetime:
    return datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def staff(*codenames: str) -> Client:
    user = get_user_model().objects.create_user("support", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", response.content.decode())))


def test_the_history_page_of_an_account_has_its_events(account: OntraportAccount) -> None:
    client = staff("view_ontraportaccount", "view_ontraportevent")
    text = text_of(client.get(f"{LIST}{account.pk}/history/"))
    assert "access lost : Ontraport no longer accepts our access ( invalid_grant )" in text
    assert "Changes made in the admin" in text
    assert client.get(f"{LIST}0/history/").status_code == 302


def test_the_history_page_is_django_s_for_staff_who_may_not_see_events(account: OntraportAccount) -> None:
    text = text_of(staff("view_ontraportaccount").get(f"{LIST}{account.pk}/history/"))
    assert "access lost" not in text
    assert "Changes made in the admin" not in text


@override_settings(TIME_ZONE="America/New_York")
def test_times_in_the_admin_come_with_their_zone(account: OntraportAccount) -> None:
    client = staff("view_ontraportaccount", "view_ontraportevent")
    assert "Jan. 2, 2026, 7 a.m. EST" in text_of(client.get(EVENTS))
    assert "Times in America/New_York." in text_of(client.get(f"{LIST}{account.pk}/change/"))
    event = OntraportEvent.objects.all()[0]
    assert "Jan. 2, 2026, 7 a.m. EST" in text_of(client.get(f"{EVENTS}{event.pk}/change/"))


def test_the_list_of_events_has_reasons_in_words(account: OntraportAccount) -> None:
    text = text_of(staff("view_ontraportevent").get(EVENTS))
    assert "Ontraport no longer accepts our access ( invalid_grant )" in text


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({}, "doesn't need to|Ask the customer"),
        ({"failures": 2, "last_error": "timeout"}, "We try again automatically"),
        ({"status": "needs_reconnect"}, "open their Ontraport accounts on this site and press “Reconnect Ontraport”"),
        (
            {"status": "needs_reconnect", "method": "api_key"},
            "open their Ontraport accounts on this site and press “Enter a new key”",
        ),
        ({"last_error": "secret_unreadable"}, "The problem is on this site's side"),
    ],
)
def test_the_page_of_an_account_tells_support_whose_turn_it_is(
    account: OntraportAccount, values: dict[str, Any], advice: str
) -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(**values)
    text = text_of(staff("view_ontraportaccount").get(f"{LIST}{account.pk}/change/"))
    assert bool(re.search(advice, text)) is bool(values)
