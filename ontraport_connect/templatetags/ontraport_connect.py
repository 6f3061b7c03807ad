"""``{% load ontraport_connect %}{% connect_ontraport %}``: the connect button, rendered by the state of the link."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context
from django.utils.functional import Promise

from ontraport_connect import pages
from ontraport_connect.models import OntraportAccount, OntraportEvent

register = template.Library()


@register.inclusion_tag("ontraport_connect/button.html", takes_context=True)
def connect_ontraport(
    context: Context,
    *,
    text: str = "",
    next: str = "",  # noqa: A002  # Django's usual name for it
    size: str = "medium",
    theme: str = "auto",
) -> dict[str, Any]:
    """Render "Connect Ontraport", "Connected as …" with a link to manage it, or "Reconnect Ontraport".

    ``text`` replaces the words of the connect button. ``next`` is the path to come back to (default: this page, if it was not posted).
    ``size`` is ``small``, ``medium`` or ``large``. ``theme`` is ``light``, ``dark``, or ``auto`` (follow the page). Needs the
    middleware. Where the accounts cannot be known, as on an error page, it is a link to the page that connects.
    """
    request = context.get("request") or getattr(context, "request", None)
    return {
        "csrf_token": context.get("csrf_token"),
        **pages.button(request, text=text, next_url=next, size=size, theme=theme),
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
