"""Authlib: `OAuth2Session.fetch_token` with the URL that the browser came back to."""

from __future__ import annotations

from urllib.parse import urlencode

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session

from tests.benchmarks.clients.attempt import TIMEOUT, main
from tests.benchmarks.hostile_answers import CLIENT_ID, CLIENT_SECRET, CODE, REDIRECT_URI, SCOPE, VERIFIER


class NotAnObject(Exception):
    """Authlib raises ``ValueError`` on purpose, with a message of its own, for anything but a JSON object."""


def exchange(url: str) -> None:
    callback(url, "https://as.example", "")


def callback(url: str, issuer: str, iss: str) -> None:
    session = OAuth2Session(
        CLIENT_ID,
        CLIENT_SECRET,
        token_endpoint_auth_method="client_secret_post",
        scope=SCOPE,
        redirect_uri=REDIRECT_URI,
        code_challenge_method="S256",
        default_timeout=TIMEOUT,
        issuer=issuer,
        authorization_response_iss_parameter_supported=True,
    )
    _, state = session.create_authorization_url(f"{issuer}/authorize", code_verifier=VERIFIER)
    back = urlencode({"code": CODE, "state": state, **({"iss": iss} if iss else {})})
    try:
        session.fetch_token(url, authorization_response=f"{REDIRECT_URI}?{back}", state=state, code_verifier=VERIFIER)
    except ValueError as error:
        if str(error).startswith("Token endpoint response"):
            raise NotAnObject from error
        raise


if __name__ == "__main__":
    main((AuthlibBaseError, requests.RequestException, NotAnObject), exchange=exchange, callback=callback)
