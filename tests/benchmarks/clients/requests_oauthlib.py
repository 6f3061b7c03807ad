"""requests-oauthlib: `OAuth2Session.fetch_token` with the URL that the browser came back to."""

from __future__ import annotations

import os
from urllib.parse import urlencode

import requests
from oauthlib.oauth2 import OAuth2Error
from requests_oauthlib import OAuth2Session

from tests.benchmarks.clients.attempt import TIMEOUT, main
from tests.benchmarks.hostile_answers import CLIENT_ID, CLIENT_SECRET, CODE, REDIRECT_URI, SCOPE

REFUSALS = (OAuth2Error, requests.RequestException, Warning)
"""oauthlib raises ``Warning``, as documented, when the scope is not the one that was asked for."""


def exchange(url: str) -> None:
    callback(url, "", "")


def callback(url: str, issuer: str, iss: str) -> None:
    """The library has no setting for the issuer."""
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    session = OAuth2Session(CLIENT_ID, redirect_uri=REDIRECT_URI, scope=[SCOPE])
    _, state = session.authorization_url("https://as.example/authorize")
    back = urlencode({"code": CODE, "state": state, **({"iss": iss} if iss else {})})
    session.fetch_token(
        url,
        authorization_response=f"{REDIRECT_URI}?{back}",
        client_secret=CLIENT_SECRET,
        include_client_id=True,
        timeout=TIMEOUT,
    )


if __name__ == "__main__":
    main(REFUSALS, exchange=exchange, callback=callback)
