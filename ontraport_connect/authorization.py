"""What Ontraport sent the browser back with, and what it means (RFC 6749, 4.1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from django.utils.translation import gettext as _
from oauthlib.oauth2.rfc6749 import errors

from .exceptions import LinkingFailed
from .secret import Secret

LONGEST_CODE = 4096
LONGEST_SAID = 200
TEMPORARY_ERRORS = {errors.ServerError.error, errors.TemporarilyUnavailableError.error}


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthorizationResponse:
    """What Ontraport sent the browser back with (RFC 6749, 4.1.2). What is repeated counts as absent; unknown names are ignored."""

    state: str = field(repr=False)
    code: Secret
    issuer: str
    error: str
    said: str
    is_repeated: bool

    @classmethod
    def read(cls, parameters: Mapping[str, Sequence[str]]) -> Self:
        return cls(
            state=_one(parameters, "state"),
            code=Secret(_one(parameters, "code")),
            issuer=_one(parameters, "iss"),
            error=_one(parameters, "error"),
            said=_one(parameters, "error_description"),
            is_repeated=any(len(parameters.get(name, [])) > 1 for name in ("code", "state", "iss", "error")),
        )


def _one(parameters: Mapping[str, Sequence[str]], name: str) -> str:
    values = parameters.get(name, [])
    return values[0] if len(values) == 1 else ""


def require_success(response: AuthorizationResponse) -> None:
    if response.error == errors.AccessDeniedError.error:
        raise LinkingFailed(_("Access was not allowed at Ontraport. Nothing was connected."), code="denied")
    if response.error in TEMPORARY_ERRORS:
        raise LinkingFailed(
            _("Ontraport could not be reached. Nothing was changed; please try again in a moment."), code="unavailable"
        )
    if response.error:
        raise ProviderRefused(_("Ontraport did not complete the connection."), code="refused", said=response.said)
    if not _is_code(response.code.reveal()):
        raise LinkingFailed(_("Ontraport's answer was incomplete."), code="incomplete")


def _is_code(text: str) -> bool:
    return 0 < len(text) <= LONGEST_CODE and text.isascii() and text.isprintable()


class ProviderRefused(LinkingFailed):
    """``said`` is Ontraport's own explanation, at most 200 characters, to be shown as text and never as markup."""

    def __init__(self, message: str, *, code: str, said: str) -> None:
        super().__init__(message, code=code)
        self.said = "".join(character for character in said if character.isprintable())[:LONGEST_SAID]
