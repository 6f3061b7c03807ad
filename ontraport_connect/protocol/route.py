"""How this site reaches Ontraport: whom it trusts, and which proxy it goes through."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from urllib3.util import make_headers

from ontraport_connect.exceptions import OntraportMisconfigured

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """``ca_bundle`` is the path of the trusted CAs (``None``: the public ones), ``proxy`` a URL or ``None``; it may hold a password."""

    ca_bundle: str | None = None
    proxy: str | None = field(default=None, repr=False)


DIRECT = Route()


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """An HTTP proxy, spoken to over http or https. Requests go through it by CONNECT, so that it sees host names only."""

    scheme: str
    host: str
    port: int
    credentials: str | None = field(repr=False)

    @classmethod
    def read(cls, url: str) -> Proxy:
        """Read ``http://host:port`` or ``https://user:password@host:port``. Raises ``OntraportMisconfigured``, which shows none of it."""
        try:
            parts = urlsplit(url)
            scheme, host, port, rest = parts.scheme, parts.hostname, parts.port, parts[2:]
        except (ValueError, AttributeError, TypeError):
            raise _malformed() from None
        if scheme not in DEFAULT_PORTS or not host or "".join(rest).strip("/"):
            raise _malformed()
        user = unquote(parts.username or "")
        return cls(
            scheme=scheme,
            host=host,
            port=port or DEFAULT_PORTS[scheme],
            credentials=f"{user}:{unquote(parts.password or '')}" if user else None,
        )

    @property
    def netloc(self) -> str:
        """The host and port, as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def headers(self) -> dict[str, str]:
        """Return what authenticates this site to the proxy (RFC 9110, 11.7.1)."""
        return {str(name): value for name, value in make_headers(proxy_basic_auth=self.credentials).items()}


def _malformed() -> OntraportMisconfigured:
    return OntraportMisconfigured("ONTRAPORT_PROXY is not the http or https URL of a proxy.", code="proxy")
