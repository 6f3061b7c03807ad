"""Which URLs credentials may be sent to: https, and http on loopback hosts."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ontraport_connect.exceptions import OntraportMisconfigured


def is_loopback(host: str | None) -> bool:
    """Tell whether ``host`` is a loopback address, ``localhost`` or a name under it (RFC 6761, 6.3)."""
    if host == "localhost" or (host or "").endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def require_secure(url: str) -> None:
    """Raise ``OntraportMisconfigured`` unless ``url`` is https, or http on a loopback host."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if host and (scheme == "https" or (scheme == "http" and is_loopback(host))):
        return
    raise OntraportMisconfigured(
        f"{scheme or '(no scheme)'}://{host or '(no host)'} is not an https address; credentials are sent over https"
        " only (http is for loopback hosts).",
        code="insecure_url",
    )
