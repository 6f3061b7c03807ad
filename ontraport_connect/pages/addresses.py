"""The site's own addresses as Ontraport knows them, and validation of the ``next`` paths that requests bring."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import UUID

from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from ontraport_connect.conf import conf
from ontraport_connect.protocol import is_loopback

LONGEST_PATH = 2000
"""Characters of a ``next``."""


def redirect_uri(request: HttpRequest) -> str:
    """Return the callback's absolute URL: ``ONTRAPORT_REDIRECT_URI``, or one built from the request."""
    return conf.ONTRAPORT_REDIRECT_URI or request.build_absolute_uri(reverse("ontraport_connect:callback"))


def client_metadata_url(request: HttpRequest) -> str:
    """Return the absolute URL of the client metadata document, on the host of the redirect URI."""
    return urljoin(redirect_uri(request), reverse("ontraport_connect:client_metadata"))


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
