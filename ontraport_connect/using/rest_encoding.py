"""What goes out to Ontraport's REST API: addresses, parameters and bodies, encoded as Ontraport reads them.

Whatever cannot be encoded raises before anything is sent, and before any frame holds a secret. Messages do not show values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from ontraport_connect.conf import conf


def url_of(path: str, params: Mapping[str, Any] | None) -> str:
    """Return the address of ``path``, whose query may be in ``path``, in ``params``, or in both.

    Raises ``ValueError`` for a parameter that is in both, and ``TypeError`` for a value that cannot be sent.
    """
    place, query = split(path)
    texts = encoded(params or {})
    if query:
        for name, _ in parse_qsl(query, keep_blank_values=True):
            if name in texts:
                raise ValueError(f"The parameter {name!r} is in the path and in params.")
    query = "&".join(part for part in (query, urlencode(texts)) if part)
    return urljoin(conf.ONTRAPORT_REST_URL, place) + (f"?{query}" if query else "")


def split(path: str) -> tuple[str, str]:
    """Return the path relative to ``ONTRAPORT_REST_URL``, and its query.

    ``/1/objects``, as Ontraport's documentation writes it, is the same as ``objects``.
    """
    if "#" in path:
        raise ValueError("The path of a request has no fragment.")
    place, _, query = path.partition("?")
    return place.removeprefix(urlsplit(conf.ONTRAPORT_REST_URL).path).lstrip("/"), query


def encoded(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as texts. ``None`` is left out.

    A ``condition`` goes as JSON, any other list as its items joined by commas, a boolean as ``true`` or ``false``. Raises ``TypeError`` for
    any other value that is neither a text nor a number.
    """
    return {name: _text(name, value) for name, value in params.items() if value is not None}


def _text(name: str, value: Any) -> str:
    if name == "condition" and isinstance(value, (list, tuple, dict)):
        return as_json(value)
    if isinstance(value, (list, tuple)):
        return ",".join(_scalar(name, item) for item in value)
    return _scalar(name, value)


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str.__str__(value)  # of an enumeration too, whose own is the name of its member
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise TypeError(
        f"The parameter {name!r} is, or contains, a {type(value).__name__} that cannot be sent; convert it to text or a number."
    )


def as_json(document: Any) -> str:
    """Return the JSON text. Raises ``TypeError`` or ``ValueError`` for what JSON cannot express (dates, ``Decimal``, NaN)."""
    return json.dumps(document, allow_nan=False)
