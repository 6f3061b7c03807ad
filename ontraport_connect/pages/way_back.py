"""The ways out of these pages: back to the site, and to the page where somebody came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import Resolver404, get_script_prefix, resolve

from ontraport_connect.conf import conf
from ontraport_connect.refreshing import endpoints


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The site around these pages: its name for people, and the path of its first page."""

    name: str
    url: str


def site_of(request: HttpRequest | None) -> Site:
    """Return the site's name, ``ONTRAPORT_SITE_NAME`` or else its host, and where its first page is."""
    host = "" if request is None else request.get_host()
    return Site(name=conf.ONTRAPORT_SITE_NAME or host, url=get_script_prefix())


def needs_link(request: HttpRequest, path: str) -> bool:
    """Tell whether the view at ``path`` runs only with a usable account, so that going there without one leads back to connect."""
    prefix = get_script_prefix().rstrip("/")
    try:
        view: Any = resolve(urlsplit(path).path.removeprefix(prefix), getattr(request, "urlconf", None)).func
    except Resolver404:
        return False
    return any(getattr(each, "needs_ontraport", False) for each in (view, getattr(view, "view_class", None)))


def back(request: HttpRequest, path: str) -> str:
    """Return where somebody goes who does not connect: to ``path``, unless that needs a link, and else to the site's first page."""
    return path if path and not needs_link(request, path) else get_script_prefix()


def ontraport_url() -> str:
    """Return the address of Ontraport's own pages, where people sign out. Raises ``OntraportMisconfigured``."""
    parts = urlsplit(endpoints().authorization_endpoint)
    return f"{parts.scheme}://{parts.netloc}/"
