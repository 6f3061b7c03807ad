"""Linking over real HTTP against the sandbox."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings

from ontraport_connect import linking, refreshing
from ontraport_connect.models import OntraportAccount, OntraportEvent, Status
from tests import ontraport
from tests.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Any:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    user = get_user_model().objects.create_user("maya", password="demo")
    client.force_login(user)
    return user


def test_a_customer_links_refreshes_uses_and_disconnects(client: Client, maya: Any, sandbox: Sandbox) -> None:
    response = ontraport.link(client, sandbox, next="/admin/")
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    account = OntraportAccount.objects.get(user=maya)
    assert (account.ontraport_id, account.status, account.scope) == ("187157", Status.CONNECTED, "mcp:tools")
    before = account.access_token.reveal()
    refreshing.refresh(account)
    assert account.access_token.reveal() != before
    assert account.mcp("count_objects", objectID="0") == {"count": 21}
    linking.unlink(account)
    assert not OntraportAccount.objects.exists()
    assert [grant["alive"] for grant in sandbox.state()["grants"]] == [False]
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["linked", "disconnected"]


def test_denied_consent_ends_on_a_page_that_says_so(client: Client, maya: Any, sandbox: Sandbox) -> None:
    back = ontraport.consent(ontraport.press_connect(client), allow=False)
    page = client.get(ontraport.come_back(client, back)["Location"])
    assert "Access was not allowed" in page.content.decode()
    assert not OntraportAccount.objects.exists()
