"""A site with ``ATOMIC_REQUESTS``: on SQLite, a page that uses an account keeps the database's only writer while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.test import Client, override_settings
from django.urls import include, path
from django.utils import timezone

from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.linked import linked_account, person
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def use(request: Any) -> HttpResponse:
    OntraportAccount.objects.filter(pk=request.ontraport.account.pk).update(label="Used")
    counted = request.ontraport.account.mcp("count_objects", objectID="0")
    if "fail" in request.GET:
        raise ValueError("after the call")
    return JsonResponse(counted)


urlpatterns = [path("use/", use), path("ontraport/", include("ontraport_connect.urls"))]


@pytest.fixture
def site(sandbox: Sandbox, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield live_server.url


def test_pages_that_use_expired_tokens_and_pages_that_link_do_not_wait_for_each_other_in_vain(
    site: str, sandbox: Sandbox
) -> None:
    """Some fail after the call: what they have written is undone, and the tokens that came are kept."""
    visits, versions = [], {}
    for number in range(4):
        user = person(f"user-{number}")
        account = linked_account(user, sandbox)
        versions[account.pk] = account.version
        visits.append((f"{site}/use/{'?fail=1' if number % 2 else ''}", cookies_of(user)))
    OntraportAccount.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    for number in range(4):
        user = person(f"newcomer-{number}")
        browser = Client()
        browser.force_login(user)
        callback = ontraport.consent(ontraport.press_connect(browser)).partition("/ontraport/")[2]
        visits.append((f"{site}/ontraport/{callback}", {name: each.value for name, each in browser.cookies.items()}))
    sandbox.set(fault="slow", fault_target="mcp", fault_seconds=0.3)
    with ThreadPoolExecutor(8) as threads:
        came = threads.map(
            lambda visit: requests.get(visit[0], cookies=visit[1], allow_redirects=False, timeout=120), visits
        )
        assert [each.status_code for each in came] == [200, 500, 200, 500, 302, 302, 302, 302]
    rows = OntraportAccount.objects.order_by("pk")
    assert [row.label == "Used" for row in rows] == [True, False, True, False, False, False, False, False]
    assert [row.version - versions[row.pk] for row in rows[:4]] == [1, 1, 1, 1]
    assert all(row.mcp("count_objects", objectID="0") == {"count": 21} for row in rows)
    assert sum(grant["alive"] for grant in sandbox.state()["grants"]) == 8


def cookies_of(user: Any) -> dict[str, str]:
    browser = Client()
    browser.force_login(user)
    return {name: each.value for name, each in browser.cookies.items()}
