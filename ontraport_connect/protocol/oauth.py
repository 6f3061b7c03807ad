"""This site as OAuth client of Ontraport: authorization request, token requests, revocation, registration.

``oauth_responses`` says what each answer becomes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from oauthlib.common import add_params_to_uri
from oauthlib.oauth2 import WebApplicationClient
from oauthlib.oauth2.rfc6749 import errors

from ontraport_connect import monitoring
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportRejected

from .http import Transport
from .oauth_responses import Grant, error_of, failure_of, is_whole, read_grant, read_registration
from .secure_urls import require_secure


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """The endpoints of an authorization server. With an ``issuer``, its authorization responses must carry ``iss`` (RFC 9207)."""

    authorization_endpoint: str
    token_endpoint: str
    issuer: str | None = None
    revocation_endpoint: str | None = None
    registration_endpoint: str | None = None


PRESETS: Mapping[str, Endpoints] = {
    "ontraport": Endpoints(
        issuer="https://app.ontraport.com",
        authorization_endpoint="https://app.ontraport.com/oauth/authorize",
        token_endpoint="https://app.ontraport.com/oauth/token",  # noqa: S106  # an address
        revocation_endpoint="https://app.ontraport.com/oauth/revoke",
        registration_endpoint="https://app.ontraport.com/oauth/register",
    ),
    "guide": Endpoints(
        authorization_endpoint="https://api.ontraport.com/oauth2/auth",
        token_endpoint="https://api.ontraport.com/oauth2/token",  # noqa: S106  # an address
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """This site as an OAuth client. Without a secret it is a public client (RFC 6749, 2.1)."""

    client_id: str
    client_secret: Secret | None
    endpoints: Endpoints
    scopes: Sequence[str]
    resource: str | None

    def authorization_url(self, *, redirect_uri: str, state: str, challenge: str) -> str:
        """Return the URL of the authorization request (RFC 6749, 4.1.1; RFC 7636, 4.3; RFC 8707, 2.1).

        Raises ``OntraportMisconfigured`` when the authorization endpoint is not https.
        """
        require_secure(self.endpoints.authorization_endpoint)
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.scopes),
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self.resource:
            parameters["resource"] = self.resource
        return str(add_params_to_uri(self.endpoints.authorization_endpoint, list(parameters.items())))

    def exchange(self, transport: Transport, *, code: Secret, redirect_uri: str, verifier: Secret) -> Grant:
        """Exchange an authorization code for tokens (RFC 6749, 4.1.3). Raises what ``oauth_responses`` lists."""
        return self._ask_for_tokens(
            transport,
            {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier},
        )

    def refresh(self, transport: Transport, refresh_token: Secret) -> Grant:
        """Spend a refresh token (RFC 6749, 6). Raises what ``oauth_responses`` lists."""
        return self._ask_for_tokens(transport, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    def revoke(self, transport: Transport, refresh_token: Secret) -> None:
        """Revoke a grant at Ontraport (RFC 7009). Does nothing without a revocation endpoint.

        Raises ``OntraportUnavailable`` when it should be tried again, ``OntraportMisconfigured`` when the client is refused.
        """
        if self.endpoints.revocation_endpoint is None:
            return
        form: Mapping[str, str | Secret] = {"token": refresh_token, "token_type_hint": "refresh_token"}
        answer = transport.send("POST", self.endpoints.revocation_endpoint, form={**form, **self._credentials()})
        if answer.status != 200 and error_of(answer) != errors.InvalidGrantError.error:
            raise failure_of(answer)

    def register(self, transport: Transport, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Register a client (RFC 7591, 3.1) and return the registration response, its secrets hidden.

        Raises ``OntraportMisconfigured`` without a registration endpoint, ``OntraportRejected`` when the metadata is refused, and
        ``OntraportUnavailable``.
        """
        if self.endpoints.registration_endpoint is None:
            raise OntraportMisconfigured("These endpoints have no registration endpoint.", code="no_registration")
        answer = transport.send("POST", self.endpoints.registration_endpoint, document=metadata)
        registration = read_registration(answer)
        if registration is None:
            if answer.status in {400, 403}:
                raise OntraportRejected(
                    f"Ontraport refused the registration: {error_of(answer) or answer.status}.", status=answer.status
                )
            raise failure_of(answer)
        return registration

    def _credentials(self) -> dict[str, str | Secret]:
        """Return the client authentication, in the body: ``client_secret_post`` or ``none`` (RFC 6749, 2.3.1), all Ontraport accepts."""
        secret = {} if self.client_secret is None else {"client_secret": self.client_secret}
        return {"client_id": self.client_id, **secret}

    def _ask_for_tokens(self, transport: Transport, form: Mapping[str, str | Secret]) -> Grant:
        resource = {"resource": self.resource} if self.resource else {}
        address, url = urlsplit(self.endpoints.token_endpoint).hostname or "", self.endpoints.token_endpoint
        with monitoring.span("ontraport.token", ontraport_grant=str(form["grant_type"]), server_address=address):
            answer = transport.send("POST", url, form={**form, **resource, **self._credentials()}, is_whole=is_whole)
            grant = read_grant(answer)
            if grant is None:
                raise failure_of(answer)
            return grant


def new_verifier() -> Secret:
    """Return a new PKCE code verifier with 384 random bits (RFC 7636, 4.1)."""
    return Secret(secrets.token_urlsafe(48))


def challenge_of(verifier: Secret) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636, 4.2)."""
    return str(WebApplicationClient("").create_code_challenge(verifier.reveal(), "S256"))
