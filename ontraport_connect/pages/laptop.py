"""The page for developers whose site has nobody to talk to yet: it says how to start the stand-in for Ontraport."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ontraport_connect.conf import conf
from ontraport_connect.protocol import is_loopback

from . import addresses

WAIT = 0.5
"""Seconds to wait for the stand-in to accept a connection."""


def start_the_sandbox(request: HttpRequest) -> HttpResponse | None:
    """Return the page, or ``None`` where linking can begin. It is shown with ``DEBUG`` only."""
    if not settings.DEBUG:
        return None
    if conf.uses_sandbox:
        needs_page = not _answers(conf.ONTRAPORT_SANDBOX_INTERNAL_URL)
    else:
        callback = addresses.redirect_uri(request)
        is_unknown = conf.ONTRAPORT_CLIENT_ID is None and conf.ONTRAPORT_ENDPOINTS == "ontraport"
        needs_page = is_unknown and is_loopback(urlsplit(callback).hostname)
    if not needs_page:
        return None
    context = {"is_set": conf.uses_sandbox, "url": conf.ONTRAPORT_SANDBOX_URL}
    return render(request, "ontraport_connect/start_sandbox.html", context, status=503)


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80}.get(parts.scheme, 443)
        with socket.create_connection((parts.hostname or "", port), WAIT):
            return True
    except (OSError, ValueError):
        return False
