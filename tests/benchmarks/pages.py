"""What a page costs that does not use Ontraport, with and without the middleware, and one that needs an account."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import include, path

from ontraport_connect.decorators import ontraport_required
from ontraport_connect.models import OntraportAccount
from tests.benchmarks.site import due_accounts

MIDDLEWARE = "ontraport_connect.middleware.OntraportMiddleware"
ROUNDS = 3000


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


@ontraport_required
def required(request: HttpRequest) -> HttpResponse:
    return HttpResponse("required")


urlpatterns = [
    path("plain/", plain),
    path("required/", required),
    path("ontraport/", include("ontraport_connect.urls")),
]


def measure() -> list[dict[str, Any]]:
    without = [name for name in settings.MIDDLEWARE if name != MIDDLEWARE]
    due_accounts("page-", 1)
    # Bind the tokens to another row, so that a page that decrypted them would fail.
    OntraportAccount.objects.update(uid=uuid.uuid4())
    with override_settings(ROOT_URLCONF=__name__, SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
        clients = {"without": client(without), "with": client([*without, MIDDLEWARE])}
        rows = [row(clients["without"], without, "/plain/", "a plain page without the middleware")]
        rows.append(row(clients["with"], [*without, MIDDLEWARE], "/plain/", "a plain page with it"))
        rows.append(row(clients["with"], [*without, MIDDLEWARE], "/required/", "a page that needs an account"))
        ratio = compare(clients, without)
    for each in rows:
        each["ratio"] = ""
    rows[1]["ratio"] = ratio
    return rows


def client(middleware: Sequence[str]) -> Client:
    with override_settings(MIDDLEWARE=middleware):
        client = Client()
        client.force_login(get_user_model().objects.get(username="benchmark"))
        client.handler.load_middleware()
    return client


def row(client: Client, middleware: Sequence[str], url: str, what: str) -> dict[str, Any]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    queries = len(captured)
    times = [seconds(client, url) for _ in range(ROUNDS // 10)]
    return {"page": what, "queries": queries, "median us": round(statistics.median(times) * 1e6)}


def compare(clients: dict[str, Client], without: Sequence[str]) -> float:
    """Return the ratio of the medians. The pages are measured by turns."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(ROUNDS):
        for name, each in clients.items():
            times[name].append(seconds(each, "/plain/"))
    return round(statistics.median(times["with"]) / statistics.median(times["without"]), 3)


def seconds(client: Client, url: str) -> float:
    started = time.perf_counter()
    client.get(url)
    return time.perf_counter() - started
