"""How long a test of a page takes with ``fake_ontraport``, beside the same test of a page without Ontraport."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import include, path

from ontraport_connect.decorators import ontraport_required
from ontraport_connect.testing import fake_ontraport


@login_required
def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Nia")


@ontraport_required
def contacts(request: Any) -> HttpResponse:
    found = request.ontraport.account.mcp("get_objects", objectID="0")["data"]
    return HttpResponse(", ".join(contact["firstname"] for contact in found))


urlpatterns = [
    path("plain/", plain),
    path("contacts/", contacts),
    path("ontraport/", include("ontraport_connect.urls")),
]


def test_without(client: Client, user: Any) -> None:
    assert b"Nia" in client.get("/plain/").content


def test_with(client: Client, user: Any) -> None:
    with fake_ontraport() as ontraport:
        ontraport.linked_account(user)
        ontraport.contacts.clear()
        ontraport.contacts.add(firstname="Nia")
        assert client.get("/contacts/").content == b"Nia"


def seconds(test: Callable[[Client, Any], None]) -> tuple[float, float]:
    """Run a test as a ``TestCase`` does, a person signed in, and everything rolled back. Return its seconds, and those of CPU."""
    started, used = time.perf_counter(), time.process_time()
    with transaction.atomic():
        user = get_user_model().objects.create_user("page-test")
        client = Client()
        client.force_login(user)
        test(client, user)
        transaction.set_rollback(True)
    return time.perf_counter() - started, time.process_time() - used


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return the medians. The two tests are measured by turns, after one that is not counted."""
    tests = {"a page without Ontraport": test_without, "a page with fake_ontraport": test_with}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tests}
    with override_settings(ROOT_URLCONF=__name__):
        for _ in range(rounds + 1):
            for name, test in tests.items():
                times[name].append(seconds(test))
    medians = {name: tuple(map(statistics.median, zip(*taken[1:], strict=True))) for name, taken in times.items()}
    least = medians["a page without Ontraport"]
    return [
        {
            "test": name,
            "median ms": round(median * 1000, 2),
            "CPU ms": round(used * 1000, 2),
            "ratio": round(median / least[0], 2),
            "more CPU ms": round((used - least[1]) * 1000, 2),
        }
        for name, (median, used) in medians.items()
    ]
