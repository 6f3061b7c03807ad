"""``{% load ontraport_connect %}{% connect_ontraport %}``: the connect button, rendered by the state of the link."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import RequestContext
from django.utils.functional import Promise

from ontraport_connect import pages
from ontraport_connect.models import OntraportAccount, OntraportEvent

register = template.Library()

SIZES = ("small", "medium", "large")
THEMES = ("auto", "light", "dark")


@register.inclusion_tag("ontraport_connect/button.html", takes_context=True)
def connect_ontraport(
    context: RequestContext,
    *,
    text: str = "",
    next: str = "",  # noqa: A002  # Django's usual name for it
    size: str = "medium",
    theme: str = "auto",
) -> dict[str, Any]:
    """Render "Connect Ontraport", "Connected as …" with a link to manage it, or "Reconnect Ontraport".

    ``text`` replaces the words of the connect button. ``next`` is the path to come back to (default: this page). ``size`` is
    ``small``, ``medium`` or ``large``. ``theme`` is ``light``, ``dark``, or ``auto`` (follow the page). Needs ``request`` in the
    context, and the middleware.
    """
    request = context.get("request")
    accounts = getattr(request, "ontraport", None)
    if request is None or accounts is None:
        raise template.TemplateSyntaxError(
            "connect_ontraport needs django.template.context_processors.request among the context processors, and"
            " ontraport_connect.middleware.OntraportMiddleware in MIDDLEWARE, after AuthenticationMiddleware."
        )
    if size not in SIZES or theme not in THEMES:
        raise template.TemplateSyntaxError(
            f"connect_ontraport takes a size of {', '.join(SIZES)} and a theme of {', '.join(THEMES)}."
        )
    account = accounts.account
    return {
        "account": account,
        "may_link": not request.user.is_authenticated or pages.permissions(request)["link"],
        "next": next or request.get_full_path(),
        "text": text,
        "size": size,
        "theme": theme,
    }


@register.filter
def ontraport_state(account: OntraportAccount) -> pages.State:
    """Return the state of the link: its ``name``, ``title`` and ``text``."""
    return pages.state_of(account)


@register.filter
def ontraport_happened(event: OntraportEvent) -> str | Promise:
    """Return the words for an event in a link's history."""
    return pages.happened(event)


@register.filter
def ontraport_reason(code: str) -> str | Promise:
    """Return the words for an error code."""
    return pages.reason_for(code)
