"""Ontraport's authorization server over HTTP: messages in and out, errors mapped once. No Django.

What the token endpoint answers to a refresh or an exchange, and what becomes of it:

- 200 with a token response (RFC 6749, 5.1): a ``Grant``
- 400 or 401 ``invalid_grant``: ``ReconnectRequired``
- 400 or 401 ``invalid_client``, ``unauthorized_client``: ``OntraportMisconfigured``
- 429: ``OntraportUnavailable`` with code ``rate_limited``; ``retry_after`` always given
- anything else, nonsense included: ``OntraportUnavailable``
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oauthlib.common import add_params_to_uri
from oauthlib.oauth2 import WebApplicationClient
from oauthlib.oauth2.rfc6749 import errors

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)

from .http import FAILURES, Answer, Transport, require_secure
from .retry_after import pause_of, retry_after

ASSUMED_LIFETIME = 3600.0
"""Seconds an access token is taken to live when the response does not say, or says what no clock can hold (RFC 6749, 5.1)."""

LONGEST_LIFETIME = 30 * 86400.0
"""Seconds; a longer ``expires_in`` is cut to this, so that every grant is used, and thereby kept alive, once in a while."""

TOKEN_TEXT = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
ERROR_CODE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,64}", re.ASCII)
OPERATOR_ERRORS = {errors.InvalidClientError.error, errors.UnauthorizedClientError.error}


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """Where an authorization server listens. With an ``issuer``, ``iss`` is required in its answers (RFC 9207)."""

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
class Grant:
    """A successful token response (RFC 6749, 5.1). ``lifetime`` is in seconds; ``scope`` is ``None`` when not said."""

    access_token: Secret
    refresh_token: Secret | None
    lifetime: float
    scope: frozenset[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """This site in its role as OAuth client; a public one without a secret (RFC 6749, 2.1)."""

    client_id: str
    client_secret: Secret | None
    endpoints: Endpoints
    scopes: Sequence[str]
    resource: str | None

    def authorization_url(self, *, redirect_uri: str, state: str, challenge: str) -> str:
        """Return where to send the browser (RFC 6749, 4.1.1; RFC 7636, 4.3; RFC 8707, 2.1)."""
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
        """Trade an authorization code for tokens (RFC 6749, 4.1.3). Raises as the module says."""
        return self._ask_for_tokens(
            transport,
            {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier},
        )

    def refresh(self, transport: Transport, refresh_token: Secret) -> Grant:
        """Spend a refresh token (RFC 6749, 6). Raises as the module says."""
        return self._ask_for_tokens(transport, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    def revoke(self, transport: Transport, refresh_token: Secret) -> None:
        """End a grant at Ontraport (RFC 7009). Without a revocation endpoint there is nothing to do.

        Raises ``OntraportUnavailable`` when it should be tried again, ``OntraportMisconfigured`` when the client is refused.
        """
        if self.endpoints.revocation_endpoint is None:
            return
        form: Mapping[str, str | Secret] = {"token": refresh_token, "token_type_hint": "refresh_token"}
        answer = transport.send("POST", self.endpoints.revocation_endpoint, form={**form, **self._credentials()})
        if answer.status != 200 and _error_of(answer) != errors.InvalidGrantError.error:
            raise _failure(answer)

    def register(self, transport: Transport, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Register a client (RFC 7591, 3.1) and return the answer's ``client_id``, ``client_secret`` and the rest, secrets hidden."""
        if self.endpoints.registration_endpoint is None:
            raise OntraportMisconfigured("These endpoints have no registration endpoint.", code="no_registration")
        answer = transport.send("POST", self.endpoints.registration_endpoint, document=metadata)
        registration = _read_registration(answer)
        if registration is None:
            if answer.status in {400, 403}:
                raise OntraportRejected(
                    f"Ontraport refused the registration: {_error_of(answer) or answer.status}.", status=answer.status
                )
            raise _failure(answer)
        return registration

    def _credentials(self) -> dict[str, str | Secret]:
        """Authenticate in the body, ``client_secret_post`` or ``none`` (RFC 6749, 2.3.1): all that Ontraport takes."""
        secret = {} if self.client_secret is None else {"client_secret": self.client_secret}
        return {"client_id": self.client_id, **secret}

    def _ask_for_tokens(self, transport: Transport, form: Mapping[str, str | Secret]) -> Grant:
        resource = {"resource": self.resource} if self.resource else {}
        answer = transport.send("POST", self.endpoints.token_endpoint, form={**form, **resource, **self._credentials()})
        grant = _read_grant(answer)
        if grant is None:
            raise _failure(answer)
        return grant


def new_verifier() -> Secret:
    """Return a PKCE code verifier of 384 random bits (RFC 7636, 4.1)."""
    return Secret(secrets.token_urlsafe(48))


def challenge_of(verifier: Secret) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636, 4.2)."""
    return str(WebApplicationClient("").create_code_challenge(verifier.reveal(), "S256"))


def _members(answer: Answer) -> Mapping[str, Any]:
    """Return the body's JSON object, an empty one when it is anything else."""
    try:
        members = answer.json()
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _read_grant(answer: Answer) -> Grant | None:
    members = _members(answer) if answer.status == 200 else {}
    access_token, refresh_token = members.get("access_token"), members.get("refresh_token")
    token_type, scope = members.get("token_type"), members.get("scope")
    if "error" in members or not _is_token(access_token) or not (refresh_token is None or _is_token(refresh_token)):
        return None
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        return None
    return Grant(
        access_token=Secret(str(access_token)),
        refresh_token=None if refresh_token is None else Secret(str(refresh_token)),
        lifetime=lifetime_of(members.get("expires_in")),
        scope=frozenset(scope.split()) if isinstance(scope, str) else None,
    )


def _is_token(value: object) -> bool:
    return isinstance(value, str) and TOKEN_TEXT.fullmatch(value) is not None


def lifetime_of(expires_in: object) -> float:
    """Return the seconds to count on: a positive number, also as a string, up to ``LONGEST_LIFETIME``; else ``ASSUMED_LIFETIME``.

    A refusal here would throw away a grant that was just paid for with the only refresh token; a wrong guess costs one 401.
    """
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float, str)):
        return ASSUMED_LIFETIME
    if isinstance(expires_in, str) and not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,6})?", expires_in, re.ASCII):
        return ASSUMED_LIFETIME
    seconds = min(float(expires_in) if isinstance(expires_in, str) else expires_in, LONGEST_LIFETIME)
    return float(seconds) if seconds > 0 else ASSUMED_LIFETIME


def _error_of(answer: Answer) -> str:
    error = _members(answer).get("error")
    return error if isinstance(error, str) and ERROR_CODE.fullmatch(error) else ""


def _failure(answer: Answer) -> OntraportError:
    """Return the one error that an answer other than the wished one stands for."""
    error = _error_of(answer) if answer.status in {400, 401} else ""
    if error == errors.InvalidGrantError.error:
        return ReconnectRequired("Ontraport no longer accepts this link's grant.", code=error)
    if error in OPERATOR_ERRORS:
        return OntraportMisconfigured(
            f"Ontraport refuses this site as a client ({error}): check ONTRAPORT_CLIENT_ID and ONTRAPORT_CLIENT_SECRET.",
            code=error,
        )
    if answer.status == 429:
        return OntraportUnavailable(
            "Ontraport asks this site to slow down.", code="rate_limited", retry_after=pause_of(answer.headers)
        )
    if answer.status == 200:
        return OntraportUnavailable(FAILURES["nonsense"], code="nonsense")
    return OntraportUnavailable(
        f"Ontraport answered with status {answer.status}.",
        code=f"http_{answer.status}",
        retry_after=retry_after(answer.headers),
    )


def _read_registration(answer: Answer) -> Mapping[str, Any] | None:
    members = _members(answer) if answer.status in {200, 201} else {}
    if not _is_token(members.get("client_id")):
        return None
    hidden = {
        name: Secret(json.dumps(value) if not isinstance(value, str) else value) for name, value in members.items()
    }
    return {
        **{name: value for name, value in members.items() if isinstance(value, (str, list))},
        **{name: hidden[name] for name in ("client_secret", "registration_access_token") if name in hidden},
    }
