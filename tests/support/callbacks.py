"""Press the connect button in a browser, and come back to the callback with an answer made by the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db import connection
from django.test import Client
from django.urls import reverse

from ontraport_connect.models import OntraportAccount
from ontraport_connect.pages.browsers import COOKIE
from tests.support.hostile_server import HostileServer

CODE = "canary-code-4f9a1c77d2"
TOKENS = {
    "access_token": "canary-access",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "canary-refresh",
}
CALLBACK = "https://shop.example/ontraport/callback/"


def press(browser: Client, **data: str) -> str:
    """Press the button, and return the ``state`` sent to Ontraport."""
    response = browser.post(reverse("ontraport_connect:connect"), data)
    assert response.status_code == 302
    return parse_qs(urlsplit(response["Location"]).query)["state"][0]


def come_back(browser: Client, parameters: Mapping[str, Any]) -> Any:
    return browser.get(reverse("ontraport_connect:callback"), parameters)


def good(server: HostileServer, sent_state: str) -> dict[str, Any]:
    return {"code": CODE, "state": sent_state, "iss": server.url}


def paths(server: HostileServer) -> list[str]:
    return [request.split(b" ")[1].decode() for request in server.requests]


def assert_refused(response: Any, server: HostileServer, code: str) -> None:
    assert (response.status_code, response["Location"]) == (302, reverse("ontraport_connect:problem", args=[code]))
    assert paths(server) == []
    assert not OntraportAccount.objects.exists()


def move(browser: Client, other: Client) -> None:
    """Make ``other`` the same browser as ``browser``, with a session of its own."""
    other.cookies[COOKIE] = browser.cookies[COOKIE].value


@contextmanager
def out_of_reach(*models: str) -> Iterator[None]:
    """Take the tables of these models away, as after a migration that was forgotten."""
    names = [f"ontraport_connect_{name}" for name in models]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    yield
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")
