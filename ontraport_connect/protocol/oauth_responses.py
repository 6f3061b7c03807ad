"""What the authorization server answered, and the one error that each failure stands for.

A token response comes only once, for a token or code that is spent by then: to refuse it ends the link. It is taken whenever its tokens can
be read without doubt, whatever is odd around them; the tokens themselves are read strictly.

What the token endpoint answers to an exchange or a refresh, and what it becomes:

- 2xx with a token response (RFC 6749, 5.1, which wants 200): a ``Grant``
- 400 or 401 ``invalid_grant``: ``ReconnectRequired``
- 400 or 401 ``invalid_client``, ``unauthorized_client``: ``OntraportMisconfigured``
- 400 or 401 with another code of RFC 6749, 5.2, or RFC 8707, 2 (``invalid_target``): ``OntraportUnavailable`` with that code
- 429: ``OntraportUnavailable`` with code ``rate_limited``; ``retry_after`` is always set
- anything else, unreadable answers included: ``OntraportUnavailable``
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oauthlib.oauth2.rfc6749 import errors

from ontraport_connect.encryption import Secret, is_placeholder
from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportUnavailable,
    ReconnectRequired,
)

from .answer import Answer
from .failures import unavailable
from .retry_after import pause_of, retry_after

ASSUMED_LIFETIME = 3600.0
"""Lifetime of an access token in seconds when the response gives none, or one that cannot be used (RFC 6749, 5.1)."""

LONGEST_LIFETIME = 30 * 86400.0
"""Seconds; a longer ``expires_in`` is cut to this, so that every grant is refreshed, and thereby kept alive, at least monthly."""

TOKEN_TEXT = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
ERROR_CODE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,64}", re.ASCII)
SAID_ONCE = {"access_token", "refresh_token", "token_type", "error"}
"""The members that must not have two values."""

OPERATOR_ERRORS = {errors.InvalidClientError.error, errors.UnauthorizedClientError.error}
OTHER_ERRORS = {
    errors.InvalidRequestError.error,
    errors.InvalidScopeError.error,
    errors.UnsupportedGrantTypeError.error,
    "invalid_target",
}
"""The other error codes of RFC 6749, 5.2, and RFC 8707, 2. They tell the operator why; what nobody knows is not repeated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A successful token response (RFC 6749, 5.1). ``lifetime`` is in seconds; ``scope`` is ``None`` when the response names none."""

    access_token: Secret
    refresh_token: Secret | None
    lifetime: float
    scope: frozenset[str] | None


def _members(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object that the body ends with, or an empty dict when there is none or what it says is in doubt.

    What comes before it (a byte order mark, a notice of PHP), bytes that are not UTF-8, control characters in a text, NaN and endless
    numbers do no harm: no token holds them. Nothing may follow it, so that of two objects none is chosen.
    """
    _, brace, rest = body.decode(errors="replace").partition("{")
    try:
        members: dict[str, Any] = json.loads(
            brace + rest, object_pairs_hook=_undisputed, parse_constant=_nothing, parse_int=float, strict=False
        )
    except (ValueError, RecursionError):
        return {}
    return members


def _undisputed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs) and any(members[name] != value for name, value in pairs if name in SAID_ONCE):
        raise ValueError("a member with two values")
    return members


def _nothing(constant: str) -> None:
    """Return what ``NaN`` and ``Infinity`` count as."""


def is_whole(body: bytes) -> bool:
    """Tell whether a body holds a whole token response, although the message that it came in was cut."""
    return "access_token" in _members(body)


def read_grant(answer: Answer) -> Grant | None:
    """Return the grant of a token response, or ``None`` when the answer is not one."""
    members = _members(answer.body) if 200 <= answer.status < 300 else {}
    access_token, refresh_token = members.get("access_token"), members.get("refresh_token")
    error, scope = members.get("error"), members.get("scope")
    if (isinstance(error, str) and error) or not _is_bearer(members.get("token_type")) or not _is_token(access_token):
        return None
    if not (refresh_token is None or refresh_token == "" or _is_token(refresh_token)):
        return None
    return Grant(
        access_token=Secret(str(access_token)),
        refresh_token=Secret(str(refresh_token)) if refresh_token else None,
        lifetime=lifetime_of(members.get("expires_in")),
        scope=frozenset(scope.split()) if isinstance(scope, str) else None,
    )


def _is_bearer(token_type: object) -> bool:
    """Tell whether this is the type of a bearer token. Where none is named there is no other that it could be."""
    return token_type is None or (isinstance(token_type, str) and token_type.strip().lower() in {"", "bearer"})


def _is_token(value: object) -> bool:
    return isinstance(value, str) and TOKEN_TEXT.fullmatch(value) is not None and not is_placeholder(value)


def lifetime_of(expires_in: object) -> float:
    """Return the lifetime in seconds: a positive number, as JSON number or string, up to ``LONGEST_LIFETIME``; else ``ASSUMED_LIFETIME``.

    Never raises: refusing the response would lose the grant, whose refresh token has just been spent. A wrong guess costs one 401.
    """
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float, str)):
        return ASSUMED_LIFETIME
    if isinstance(expires_in, str) and not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,6})?", expires_in, re.ASCII):
        return ASSUMED_LIFETIME
    seconds = min(float(expires_in) if isinstance(expires_in, str) else expires_in, LONGEST_LIFETIME)
    return float(seconds) if seconds > 0 else ASSUMED_LIFETIME


def error_of(answer: Answer) -> str:
    """Return the OAuth error code of the answer, or an empty string when it has no well-formed one."""
    error = _members(answer.body).get("error")
    return error if isinstance(error, str) and ERROR_CODE.fullmatch(error) else ""


def failure_of(answer: Answer) -> OntraportError:
    """Return the error to raise for an answer that is not the expected one."""
    error = error_of(answer) if answer.status in {400, 401} else ""
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
        return unavailable("nonsense")
    if error in OTHER_ERRORS:
        return OntraportUnavailable(
            f"Ontraport answered with status {answer.status}: {error}.",
            code=error,
            retry_after=retry_after(answer.headers),
        )
    return OntraportUnavailable(
        f"Ontraport answered with status {answer.status}.",
        code=f"http_{answer.status}",
        retry_after=retry_after(answer.headers),
    )


def read_registration(answer: Answer) -> Mapping[str, Any] | None:
    """Return a registration response (RFC 7591, 3.2.1) with its secrets hidden, or ``None`` when the answer is not one."""
    try:
        members = answer.json() if answer.status in {200, 201} else None
    except ValueError:
        return None
    if not isinstance(members, dict) or not _is_token(members.get("client_id")):
        return None
    hidden = {
        name: Secret(json.dumps(value) if not isinstance(value, str) else value) for name, value in members.items()
    }
    return {
        **{name: value for name, value in members.items() if isinstance(value, (str, list))},
        **{name: hidden[name] for name in ("client_secret", "registration_access_token") if name in hidden},
    }
