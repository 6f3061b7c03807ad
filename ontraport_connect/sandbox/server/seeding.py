"""The people and the OAuth clients of the stand-in, made or set right again at every start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.contrib.auth import get_user_model
from oauth2_provider.models import get_application_model

from ontraport_connect.sandbox import ACCOUNTS, PASSWORD

# Any port of a loopback host is accepted (RFC 8252, 7.3).
LOOPBACK_REDIRECT_URIS = ("http://127.0.0.1/ontraport/callback/", "http://localhost/ontraport/callback/")


class Client(NamedTuple):
    """An OAuth client. Without a secret it is a public one."""

    client_id: str
    client_secret: str
    name: str


CLIENTS = (
    Client("sandbox-client", "sandbox-secret", "Example shop"),
    Client("sandbox-public", "", "Example shop (public client)"),
)


def seed(redirect_uris: Sequence[str], own: Client | None) -> None:
    """Make the people, the clients, and the client of the site under development."""
    users = get_user_model().objects
    for username in ACCOUNTS:
        user, _ = users.get_or_create(username=username)
        user.set_password(PASSWORD)
        user.save()
    for client in (*CLIENTS, *([own] if own else [])):
        get_application_model().objects.update_or_create(
            client_id=client.client_id,
            defaults={
                "client_type": "confidential" if client.client_secret else "public",
                "client_secret": client.client_secret,
                "hash_client_secret": False,
                "authorization_grant_type": "authorization-code",
                "name": client.name,
                "redirect_uris": " ".join([*LOOPBACK_REDIRECT_URIS, *redirect_uris]),
            },
        )
