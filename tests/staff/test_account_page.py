"""What support reads on the page of an account in the admin, and before it is disconnected."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client, override_settings

from ontraport_connect.models import OntraportAccount

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/ontraport_connect/ontraportaccount/"


@pytest.fixture
def support(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("support"))
    return client


def make(**values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(
        user=get_user_model().objects.get(username="support"), **values
    )
    return account


def text_of(response: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def ask(support: Client, *accounts: OntraportAccount) -> Any:
    chosen = [account.pk for account in accounts]
    return support.post(LIST, {"action": "disconnect", "_selected_action": chosen})


def test_the_default_and_the_notice_are_said_in_words(support: Client) -> None:
    account = make()
    page = support.get(f"{LIST}{account.pk}/change/")
    assert "Default: No Notified by email: Not yet" in text_of(page)
    assert "icon-no" not in page.content.decode()
    OntraportAccount.objects.update(is_default=True, notified_at=datetime(2026, 1, 2, 12, tzinfo=UTC))
    with override_settings(TIME_ZONE="UTC"):
        page = support.get(f"{LIST}{account.pk}/change/")
    assert "Default: Yes Notified by email: Jan. 2, 2026, noon UTC" in text_of(page)


@pytest.mark.parametrize("may_change", [True, False])
def test_the_name_is_called_as_its_owner_sees_it(support: Client, may_change: bool) -> None:
    account = make(label="Shop")
    reader = get_user_model().objects.create_user("reader", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename="view_ontraportaccount"))
    if not may_change:
        support.force_login(reader)
    page = support.get(f"{LIST}{account.pk}/change/")
    assert ('name="label"' in page.content.decode()) == may_change
    assert "Name:" in text_of(page)
    assert "Label:" not in text_of(page)


def test_one_account_is_disconnected_in_the_singular_and_with_advice(support: Client) -> None:
    first, second = make(label="First"), make(label="Second")
    advice = "If the customer only needs to repair the link, they can reconnect; you don't have to disconnect."
    for page in (ask(support, first), support.get(f"{LIST}{first.pk}/delete/")):
        assert "<h1>Disconnect Ontraport account</h1>" in page.content.decode()
        assert advice in text_of(page)
    page = ask(support, first, second)
    assert "<h1>Disconnect Ontraport accounts</h1>" in page.content.decode()
    assert advice not in text_of(page)
