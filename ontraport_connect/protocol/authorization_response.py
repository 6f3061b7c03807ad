"""The parameters that Ontraport redirects the browser to the callback with (RFC 6749, 4.1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from ontraport_connect.encryption import Secret

LONGEST_CODE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthorizationResponse:
    """An authorization response (RFC 6749, 4.1.2). A repeated parameter counts as absent; unknown ones are ignored.

    ``said`` is the ``error_description``, as Ontraport sent it: escape it.
    """

    state: str = field(repr=False)
    code: Secret
    issuer: str
    error: str
    said: str
    is_repeated: bool

    @classmethod
    def read(cls, parameters: Mapping[str, Sequence[str]]) -> Self:
        """Read the query of the callback: the values of each parameter, by its name."""
        return cls(
            state=_one(parameters, "state"),
            code=Secret(_one(parameters, "code")),
            issuer=_one(parameters, "iss"),
            error=_one(parameters, "error"),
            said=_one(parameters, "error_description"),
            is_repeated=any(len(parameters.get(name, [])) > 1 for name in ("code", "state", "iss", "error")),
        )

    @property
    def has_code(self) -> bool:
        """Whether there is a code that may be sent to the token endpoint."""
        return _is_code(self.code.reveal())


def _one(parameters: Mapping[str, Sequence[str]], name: str) -> str:
    values = parameters.get(name, [])
    return values[0] if len(values) == 1 else ""


def _is_code(text: str) -> bool:
    return 0 < len(text) <= LONGEST_CODE and text.isascii() and text.isprintable()
