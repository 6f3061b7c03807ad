"""Which URLs credentials may be sent to: https, and http on loopback hosts."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ontraport_connect.exceptions import OntraportMisconfigured

HOST_NAME = re.compile(r"[a-z0-9._-]+")


def is_loopback(host: str | None) -> bool:
    """Tell whether ``host`` is a loopback address, ``localhost`` or a name under it (RFC 6761, 6.3)."""
    if host == "localhost" or (host or "").endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def require_secure(url: str) -> None:
    """Raise ``OntraportMisconfigured`` unless ``url`` is https, or http on a loopback host, with the name of one host.
    It has to be in ASCII: two versions of IDNA turn others into different names, which may be of different owners.
    """
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if host and not host.isascii():
        raise OntraportMisconfigured(
            f"The host name {host} has letters that programs turn into different names. Write it as browsers show it when they send it:"
            " xn--…",
            code="insecure_url",
        )
    if host and ":" not in host and not HOST_NAME.fullmatch(host):
        raise OntraportMisconfigured(
            f"{host} is not the name of a host: an address is written out, without * or blanks.",
            code="insecure_url",
        )
    if host and (scheme == "https" or (scheme == "http" and is_loopback(host))):
        return
    raise OntraportMisconfigured(
        f"{scheme or '(no scheme)'}://{host or '(no host)'} is not an https address; credentials are sent over https"
        " only (http is for loopback hosts).",
        code="insecure_url",
    )
