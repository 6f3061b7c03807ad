"""An unregistered site: the URL of its client metadata document is its client id, and the sandbox fetches it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.conf import settings
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect import linking, tasks
from ontraport_connect.models import OntraportAccount, OntraportEvent
from tests.support import ontraport
from tests.support.linked import person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server: Any, sandbox: Sandbox) -> Iterator[str]:
    configured = ontraport.settings_for(sandbox.url)
    unregistered = {"ONTRAPORT_CLIENT_ID": None, "ONTRAPORT_CLIENT_SECRET": None}
    callback = {"ONTRAPORT_REDIRECT_URI": f"{live_server.url}/ontraport/callback/"}
    with override_settings(**{**configured, **unregistered, **callback}):
        yield f"{live_server.url}/ontraport/client.json"


def test_the_document_is_public_and_says_its_own_address(site: str) -> None:
    response = requests.get(site, timeout=10)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.json()["client_id"] == site
    assert "max-age" in response.headers["Cache-Control"]


def test_a_site_links_refreshes_in_the_background_and_lets_go_without_a_registration(
    site: str, client: Client, sandbox: Sandbox
) -> None:
    maya = person("maya")
    client.force_login(maya)
    assert ontraport.link(client, sandbox).status_code == 302
    account = OntraportAccount.objects.get()
    assert account.client_id == site
    assert [grant["client_id"] for grant in sandbox.state()["grants"] if grant["alive"]] == [site]
    first = account.access_token.reveal()

    OntraportAccount.objects.update(refresh_at=timezone.now() - timedelta(minutes=1))
    assert tasks.refresh_accounts([account.pk]) == {"refreshed": 1}
    account.refresh_from_db()
    assert account.access_token.reveal() != first
    assert account.mcp("count_objects", objectID="0") == {"count": 21}

    linking.unlink(account)
    assert [grant for grant in sandbox.state()["grants"] if grant["alive"]] == []
    assert [event.kind for event in OntraportEvent.objects.order_by("pk")] == ["linked", "disconnected"]


@pytest.mark.usefixtures("unreachable")
def test_the_client_metadata_is_public_and_kept_for_a_while(client: Client) -> None:
    response = client.get("/ontraport/client.json")
    assert response["Cache-Control"] == "public, max-age=300"
    assert response.json()["redirect_uris"] == ["http://127.0.0.1:8000/ontraport/callback/"]


@pytest.mark.usefixtures("unreachable")
@override_settings(SESSION_SAVE_EVERY_REQUEST=True)
def test_no_cache_keeps_the_session_cookie_of_a_person_who_looks_at_the_metadata(client: Client, maya: Any) -> None:
    """Anybody can lead a person to this address by a link. A cache that keeps ``Set-Cookie`` would hand the session to everybody."""
    response = client.get("/ontraport/client.json")
    assert settings.SESSION_COOKIE_NAME in response.cookies
    assert response["Cache-Control"] == "no-store"
    without = Client().get("/ontraport/client.json")
    assert (without.cookies, without["Cache-Control"]) == ({}, "public, max-age=300")
    assert "Cookie" in without["Vary"]
