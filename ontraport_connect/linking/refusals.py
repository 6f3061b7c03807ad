"""Errors for authorization responses without a code (RFC 6749, 4.1.2.1)."""

from __future__ import annotations

from django.utils.translation import gettext as _
from oauthlib.oauth2.rfc6749 import errors

from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.protocol import AuthorizationResponse

MAX_SAID_LENGTH = 200
TEMPORARY_ERRORS = {errors.ServerError.error, errors.TemporarilyUnavailableError.error}


def require_success(response: AuthorizationResponse) -> None:
    """Raise ``LinkingFailed`` unless the response carries a code and no error."""
    if response.error == errors.AccessDeniedError.error:
        raise LinkingFailed(_("You didn't allow access. Nothing was connected."), code="denied")
    if response.error in TEMPORARY_ERRORS:
        raise LinkingFailed(
            _("We couldn't reach Ontraport. Nothing changed. Please try again in a moment."), code="unavailable"
        )
    if response.error:
        raise ProviderRefused(
            _("Ontraport couldn't complete the connection."), code="refused", said=response.said or response.error
        )
    if not response.has_code:
        raise LinkingFailed(_("Ontraport's answer was incomplete."), code="incomplete")


class ProviderRefused(LinkingFailed):
    """Ontraport refused the authorization. ``said`` is its ``error_description``, or else its ``error``: untrusted text, cut to 200
    characters.
    """

    def __init__(self, message: str, *, code: str, said: str) -> None:
        super().__init__(message, code=code)
        line = " ".join(said.split())
        self.said = "".join(character for character in line if character.isprintable())[:MAX_SAID_LENGTH]
