"""Who may get an e-mail about a link: whoever made it and could reconnect it still."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest

from ontraport_connect import linking
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import OntraportAccount, is_active

logger = logging.getLogger("ontraport_connect")


def address_of(user: Any) -> str:
    """Return the e-mail address of this person; an empty string where they have none."""
    return str(getattr(user, user.get_email_field_name(), None) or "")


def may_reconnect(account: OntraportAccount, redirect_uri: str) -> bool:
    """Tell whether the person who made the link is active, and may link for its owner now: who has left a tenant may not.

    ``ONTRAPORT_MAY`` is asked with a request that nobody made. It is a GET of "/" on the host of ``redirect_uri``, with the
    person as ``user`` and an empty session. If it cannot be asked, nobody is told.
    """
    if not is_active(account.user):
        return False
    if not account.tenant:
        return True
    try:
        return linking.may(_request_of(account.user, redirect_uri), account.tenant, "link")
    except OntraportMisconfigured as error:
        logger.critical("People are not told that links of tenants need them: %s", error)
        return False


def _request_of(user: Any, redirect_uri: str) -> HttpRequest:
    parts = urlsplit(redirect_uri)
    request: Any = WSGIRequest(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "HTTP_HOST": parts.netloc,
            "SERVER_NAME": parts.hostname,
            "SERVER_PORT": str(parts.port or (443 if parts.scheme == "https" else 80)),
            "wsgi.url_scheme": parts.scheme,
            "wsgi.input": BytesIO(),
        }
    )
    request.user = user
    request.session = {}
    return request  # type: ignore[no-any-return]
