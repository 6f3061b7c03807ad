"""A request as it is sent: its body encoded, and its secrets in plain"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from urllib3.util import parse_url

from ontraport_connect import __version__
from ontraport_connect.encryption import Secret

USER_AGENT = f"django-ontraport-connect/{__version__}"

BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Methods that announce no length where they have no body (RFC 9110, 8.6)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is sent to a server. ``target`` is the path and query of ``url``. Only frames that raise nothing may hold one."""

    method: str
    url: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


def prepared(
    method: str,
    url: str,
    *,
    form: Mapping[str, str | Secret] | None,
    document: Mapping[str, Any] | None,
    headers: Mapping[str, str | Secret],
) -> Request:
    """Return the request whose body is ``form``, or ``document`` as JSON, or nothing.

    Raises ``ValueError`` or ``TypeError`` for what cannot be sent, and ``SecretUnreadable``: in frames that hold secrets.
    """
    lines, body = {"Accept": "application/json", "User-Agent": USER_AGENT}, None
    if form is not None:
        body = urlencode({name: reveal(value) for name, value in form.items()}).encode()
        lines["Content-Type"] = "application/x-www-form-urlencoded"
    elif document is not None:
        body = json.dumps(document, allow_nan=False).encode()
        lines["Content-Type"] = "application/json"
    method = method.upper()
    if body is not None or method not in BODILESS:
        lines["Content-Length"] = str(len(body or b""))
    lines.update({name: _in_one_line(reveal(value)) for name, value in headers.items()})
    return Request(method=method, url=url, target=parse_url(url).request_uri, headers=lines, body=body)


def _in_one_line(value: str) -> str:
    """Return the value of a header. ``http.client`` would send one that is folded (RFC 9112, 5.2), or has blanks around it."""
    if not value.isprintable() or value != value.strip():
        raise ValueError("the value of a header")
    return value


def reveal(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
