"""Fixtures for the tests of the pages: people, browsers, and servers in Ontraport's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings

from tests.support import ontraport as stand_in
from tests.support.callbacks import CALLBACK, TOKENS
from tests.support.hostile_server import HostileServer, KeepAlive, answer, hostile_server


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def ontraport(server: HostileServer) -> Iterator[HostileServer]:
    """A server that gives tokens to anyone, so that only the app's own checks stand between an attacker and a link."""
    server.behaviour = KeepAlive(answer(json.dumps(TOKENS)))
    server.requests.clear()
    endpoints = {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
    }
    with override_settings(
        ONTRAPORT_CLIENT_ID="id",
        ONTRAPORT_CLIENT_SECRET="canary-secret",
        ONTRAPORT_ENDPOINTS=endpoints,
        ONTRAPORT_REDIRECT_URI=CALLBACK,
        ONTRAPORT_MCP_URL="http://127.0.0.1:1/",
        ONTRAPORT_TIMEOUT=(1, 1),
    ):
        yield server


@pytest.fixture
def unreachable() -> Iterator[None]:
    """Complete settings for an Ontraport that cannot be reached."""
    with override_settings(**stand_in.settings_for("http://127.0.0.1:9/")):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    """A user, signed in with ``client``."""
    user = get_user_model().objects.create_user("maya", password="demo")
    client.force_login(user)
    return user


@pytest.fixture
def browser(ontraport: HostileServer, maya: Any) -> Client:
    client = Client()
    client.force_login(maya)
    return client
