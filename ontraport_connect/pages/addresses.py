"""The site's own addresses as Ontraport knows them, and validation of the ``next`` paths that requests bring."""

from __future__ import annotations

from copy import copy
from itertools import takewhile
from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import translation
from django.utils.http import url_has_allowed_host_and_scheme

from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.linking import beside
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import is_loopback, require_secure

from .redirect_uris import require_sound

LONGEST_PATH = 2000
"""Characters of a ``next``."""


def redirect_uri(request: HttpRequest) -> str:
    """Return the callback's absolute URL: ``ONTRAPORT_REDIRECT_URI``, or one built from the request.

    Under ``i18n_patterns`` it has the prefix of the site's default language in every language: it is registered with Ontraport once.
    """
    if conf.ONTRAPORT_REDIRECT_URI:
        return conf.ONTRAPORT_REDIRECT_URI
    with translation.override(settings.LANGUAGE_CODE):
        return request.build_absolute_uri(reverse("ontraport_connect:callback"))


def sound_redirect_uri(request: HttpRequest) -> str:
    """Return ``redirect_uri`` for use. Raises ``OntraportMisconfigured`` when nobody could come back to it, or when it is not secure.

    Ontraport refuses such an address on a page of its own, where nobody would look for the reason.
    """
    uri = redirect_uri(request)
    if conf.ONTRAPORT_REDIRECT_URI is not None:
        require_sound(uri, has_own_urlconf=getattr(request, "urlconf", None) is not None)
        return uri
    try:
        require_secure(uri)
    except OntraportMisconfigured:
        raise OntraportMisconfigured(
            f"The callback's address would be {uri}, which is not https: set ONTRAPORT_REDIRECT_URI to its https address. If TLS"
            " ends at a proxy, set SECURE_PROXY_SSL_HEADER, too, so that Django knows a request that came by https.",
            code="insecure_redirect_uri",
        ) from None
    return uri


def client_metadata_url(request: HttpRequest) -> str:
    """Return the absolute URL of the client metadata document: beside the callback, so that a site has one client id."""
    return beside(redirect_uri(request), "client_metadata")


def other_start(request: HttpRequest) -> str:
    """Return the connect page's URL on the callback's host, or "" if linking can start on this host.

    It cannot if the session cookie would not be sent to the callback: the person would be signed out there, after giving consent.
    Only hosts of the same domain count, so that a forged ``Host`` header changes nothing. Raises ``OntraportMisconfigured`` where the
    callback's address is one that nobody could come back to.
    """
    callback = conf.ONTRAPORT_REDIRECT_URI
    here, there = _host_in_browser(request), _hostname(callback or "")
    if settings.PREPEND_WWW and not there.startswith("www."):
        there = f"www.{there}"  # Django leads on to it, with the whole answer
    if not callback or here == there or _share_cookies(here, there) or not _are_related(here, there):
        return ""
    return beside(sound_redirect_uri(request), "connect")


def origin_to_return_to(request: HttpRequest) -> str:
    """Return the scheme and host of this request if the callback is on another host to which the session comes along, else ""."""
    callback = conf.ONTRAPORT_REDIRECT_URI
    here, there = _hostname(f"//{request.get_host()}"), _hostname(callback or "")
    if not callback or here == there or not _share_cookies(here, there):
        return ""
    return f"{urlsplit(callback).scheme}://{request.get_host()}"


def on_host(request: HttpRequest, host: str) -> HttpRequest:
    """Return a copy of the request as if it had come to ``host``. What middleware has derived from the host is not derived anew."""
    elsewhere = copy(request)
    elsewhere.META = {**request.META, "HTTP_HOST": host, "HTTP_X_FORWARDED_HOST": host}
    for cached in ("headers", "_current_scheme_host"):
        elsewhere.__dict__.pop(cached, None)
    return elsewhere


def _host_in_browser(request: HttpRequest) -> str:
    """Return the host of this site as the browser knows it, which a proxy may hide from ``request.get_host()``."""
    return _hostname(request.headers.get("Origin", "")) or _hostname(f"//{request.get_host()}")


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _share_cookies(*hosts: str) -> bool:
    domain = (settings.SESSION_COOKIE_DOMAIN or "").lstrip(".").lower()
    return bool(domain) and all(host == domain or host.endswith(f".{domain}") for host in hosts)


def _are_related(*hosts: str) -> bool:
    """Tell whether all are loopback hosts, or all are in the same domain of two labels or more."""
    levels = zip(*(reversed(host.split(".")) for host in hosts), strict=False)
    shared = sum(1 for _ in takewhile(lambda labels: len(set(labels)) == 1, levels))
    return shared >= 2 or all(is_loopback(host) for host in hosts)


def client_metadata(request: HttpRequest) -> dict[str, Any]:
    """Return the client metadata (RFC 7591, 2; OAuth Client ID Metadata Document) of this site as a public client."""
    uri = redirect_uri(request)
    return {
        "client_id": client_metadata_url(request),
        "client_name": request.get_host() if conf.ONTRAPORT_REDIRECT_URI is None else urlsplit(uri).netloc,
        "client_uri": urljoin(uri, "/"),
        "redirect_uris": [uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native" if is_loopback(urlsplit(uri).hostname) else "web",
        "scope": " ".join(conf.ONTRAPORT_SCOPES),
    }


def after_link_url() -> str:
    """Return where a finished link lands when no ``next`` was given."""
    return resolve_url(conf.ONTRAPORT_AFTER_LINK_URL or "ontraport_connect:accounts")


def card_url(account: OntraportAccount) -> str:
    """Return the address of an account on the accounts page, where it is open and in sight."""
    return f"{reverse('ontraport_connect:accounts')}?show={account.uid}#account-{account.uid}"


def local_path(target: str) -> str:
    """Return ``target`` if it is a path on this site, else an empty string. A URL with a host is refused, even our own."""
    if not target.startswith("/") or target.startswith("//") or "\\" in target:
        return ""
    if len(target) > LONGEST_PATH or not target.isprintable():
        return ""
    return target if url_has_allowed_host_and_scheme(target, allowed_hosts=None) else ""


def uuid_or_none(text: str) -> UUID | None:
    """Parse a UUID; return None when ``text`` is not one."""
    try:
        return UUID(text)
    except ValueError:
        return None
