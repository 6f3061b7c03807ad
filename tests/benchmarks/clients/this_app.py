"""This app: ``protocol.Client.exchange`` through ``protocol.Transport``; its callback is the view, on a database in memory."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import django
from django.contrib.auth import get_user_model
from django.test import Client as Browser
from django.test import override_settings
from django.test.utils import setup_databases
from django.urls import reverse

from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.protocol import Client, Endpoints
from ontraport_connect.protocol.http import Transport
from tests.benchmarks.clients.attempt import TIMEOUT, main
from tests.benchmarks.hostile_answers import CLIENT_ID, CLIENT_SECRET, CODE, REDIRECT_URI, SCOPE, VERIFIER


def exchange(url: str, timeout: tuple[float, float] = (TIMEOUT, TIMEOUT)) -> str:
    """Return the access token for a code."""
    client = Client(
        client_id=CLIENT_ID,
        client_secret=Secret(CLIENT_SECRET),
        endpoints=Endpoints(authorization_endpoint="https://as.example/authorize", token_endpoint=url),
        scopes=(SCOPE,),
        resource=None,
    )
    with Transport(timeout=timeout) as transport:
        grant = client.exchange(transport, code=Secret(CODE), redirect_uri=REDIRECT_URI, verifier=Secret(VERIFIER))
    return grant.access_token.reveal()


def callback(url: str, issuer: str, iss: str) -> None:
    django.setup()
    setup_databases(verbosity=0, interactive=False)
    browser = Browser()
    browser.force_login(get_user_model().objects.create_user("maya"))
    endpoints = {"issuer": issuer, "authorization_endpoint": f"{issuer}/authorize", "token_endpoint": url}
    with override_settings(
        ONTRAPORT_CLIENT_ID=CLIENT_ID,
        ONTRAPORT_CLIENT_SECRET=CLIENT_SECRET,
        ONTRAPORT_ENDPOINTS=endpoints,
        ONTRAPORT_MCP_URL=issuer,
    ):
        asked = browser.post(reverse("ontraport_connect:connect"), secure=True)["Location"]
        state = parse_qs(urlsplit(asked).query)["state"][0]
        browser.get(reverse("ontraport_connect:callback"), {"code": CODE, "state": state, "iss": iss}, secure=True)


if __name__ == "__main__":
    main((OntraportError,), exchange=exchange, callback=callback)
