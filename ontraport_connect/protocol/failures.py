"""What can go wrong on the way to Ontraport and back: codes, their words, and the errors of the HTTP stack that they stand for."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Iterable, Sequence

import urllib3

from ontraport_connect.exceptions import OntraportUnavailable

FAILURES = {
    "timeout": "Ontraport did not answer in time.",
    "connection": "Ontraport could not be reached.",
    "tls": "The TLS certificate of Ontraport's server was not accepted.",
    "cut": "The connection was lost before Ontraport's answer was complete.",
    "too_large": "Ontraport's answer is larger than any that this app expects.",
    "nonsense": "Ontraport's answer could not be understood.",
}

EXCERPT_LENGTH = 200
"""The most characters of a refusal that ``OntraportRejected.said`` holds."""


class NotConnected(Exception):
    """No connection was made; nothing was sent."""


class NotTrusted(Exception):
    """The TLS handshake failed; nothing was sent."""


KINDS: Sequence[tuple[str, tuple[type[BaseException], ...]]] = (
    ("tls", (NotTrusted,)),
    ("connection", (NotConnected, urllib3.exceptions.NewConnectionError, ConnectionRefusedError)),
    ("timeout", (urllib3.exceptions.TimeoutError, TimeoutError)),
    ("cut", (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)),
    ("nonsense", (http.client.HTTPException, zlib.error, ValueError)),
    ("cut", (urllib3.exceptions.HTTPError, OSError)),
)
"""The failure codes and the exceptions that they cover. The first match counts."""


def unavailable(code: str) -> OntraportUnavailable:
    """Return the error for one of ``FAILURES``."""
    return OntraportUnavailable(FAILURES[code], code=code)


def excerpt(text: str, credentials: Iterable[str] = ()) -> str:
    """Return the beginning of a text of Ontraport's on one line, without control characters; nothing when it repeats credentials."""
    if any(each in text for each in credentials):
        return ""
    return "".join(each for each in " ".join(text.split()) if each.isprintable())[:EXCERPT_LENGTH]


def failure_code(error: BaseException) -> str:
    """Return the code in ``FAILURES`` for whatever the HTTP stack raised; ``nonsense`` for what is unknown."""
    return next((code for code, kinds in KINDS if isinstance(error, kinds)), "nonsense")
