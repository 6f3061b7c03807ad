"""What the connect button shows, for every template language."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.http import HttpRequest
from django.template import TemplateSyntaxError
from django.urls import NoReverseMatch, reverse

from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.linking import beside
from ontraport_connect.models import person_of

from . import tenancy
from .state_texts import state_of

logger = logging.getLogger("ontraport_connect")

MIDDLEWARE = "ontraport_connect.middleware.OntraportMiddleware"
SIZES = ("small", "medium", "large")
THEMES = ("auto", "light", "dark")


def button(
    request: HttpRequest | None, *, text: str = "", next_url: str = "", size: str = "medium", theme: str = "auto"
) -> dict[str, Any]:
    """Return the context of ``button.html``. Raises ``TemplateSyntaxError`` for a size or theme that does not exist, and without the
    middleware.

    ``connect_url`` stands in for the form where no form can work: without a request, when the database fails (both are usual on error
    pages), on a page of a middleware that answers before ours, and on a host whose URLconf does not include this app.
    """
    if size not in SIZES or theme not in THEMES:
        raise TemplateSyntaxError(
            f"connect_ontraport takes a size of {', '.join(SIZES)} and a theme of {', '.join(THEMES)}."
        )
    look = {"text": text, "size": size, "theme": theme}
    connect_url, is_here = _connect_url()
    if request is None or not is_here:
        return {**look, "connect_url": connect_url}
    accounts = getattr(request, "ontraport", None)
    if accounts is None and MIDDLEWARE in settings.MIDDLEWARE:
        return {**look, "connect_url": connect_url}
    if accounts is None:
        raise TemplateSyntaxError(
            f"connect_ontraport needs {MIDDLEWARE} in MIDDLEWARE, after AuthenticationMiddleware."
        )
    try:
        account, others = accounts.account, len(accounts.accounts) - 1
        state = None if account is None else state_of(account)
        is_nobody = person_of(request) is None
        made_for = "" if is_nobody else tenancy.mark_of(request)
        may_link = is_nobody or _may_link(request)
    except DatabaseFailure:
        return {**look, "connect_url": connect_url}
    form = {"next": next_url or _this_page(request), "made_for": made_for}
    return {**look, "account": account, "state": state, "others": others, "may_link": may_link, **form}


def _may_link(request: HttpRequest) -> bool:
    """Tell whether the person may link. A page of the adopter's does not fail because ``ONTRAPORT_MAY`` does."""
    try:
        return tenancy.permissions(request)["link"]
    except OntraportMisconfigured as error:
        logger.critical("Nobody can connect Ontraport: %s", error)
        return False


def _this_page(request: HttpRequest) -> str:
    """Return the path to come back to: none if this page was posted, as it may not be there for a GET."""
    return request.get_full_path() if request.method in {"GET", "HEAD"} else ""


def _connect_url() -> tuple[str, bool]:
    """Return the address of the connect page, and whether it is on this host."""
    try:
        return reverse("ontraport_connect:connect"), True
    except NoReverseMatch:
        if not conf.ONTRAPORT_REDIRECT_URI:
            raise
        return beside(conf.ONTRAPORT_REDIRECT_URI, "connect"), False
