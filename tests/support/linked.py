"""People, and the accounts that they linked at the sandbox."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client

from ontraport_connect.models import Method, OntraportAccount
from tests.support import ontraport
from tests.support.servers import Sandbox

KEYS = {"app_id": "2_187157_sandbox", "access_token": "sandbox-key-owner"}


def person(name: str) -> Any:
    return get_user_model().objects.create_user(name, password="demo")


def key_account(user: Any, **values: Any) -> OntraportAccount:
    """Return an account linked with the key pair of the sandbox's owner."""
    defaults: dict[str, Any] = {"method": Method.API_KEY, "ontraport_id": "187157", **KEYS}
    account: OntraportAccount = OntraportAccount.objects.create(user=user, **{**defaults, **values})
    return account


def linked_account(user: Any, sandbox: Sandbox, *, username: str = "owner") -> OntraportAccount:
    """Return an account that the person linked with OAuth."""
    client = Client()
    client.force_login(user)
    response = ontraport.link(client, sandbox, username=username)
    assert response.status_code == 302, response.content
    account: OntraportAccount = OntraportAccount.objects.filter(user=user).latest("pk")
    return account
