"""``{% load ontraport_connect %}{% connect_ontraport %}``: the connect button, rendered by the state of the link."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.http import HttpRequest
from django.template import Context
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.timezone import localtime

from ontraport_connect import pages
from ontraport_connect.models import OntraportAccount, OntraportEvent, aware, full_name_of, name_of

register = template.Library()


def _request_of(context: Context) -> HttpRequest | None:
    return context.get("request") or getattr(context, "request", None)


@register.inclusion_tag("ontraport_connect/button.html", takes_context=True)
def connect_ontraport(
    context: Context,
    *,
    text: str = "",
    next: str = "",  # noqa: A002  # Django's usual name for it
    size: str = "medium",
    theme: str = "auto",
) -> dict[str, Any]:
    """Render "Connect Ontraport"; the account, its state and a link to manage it; or "Reconnect Ontraport".

    ``text`` replaces the words of the connect button. ``next`` is the path to come back to (default: this page, if it was not posted).
    ``size`` is ``small``, ``medium`` or ``large``. ``theme`` is ``light``, ``dark``, or ``auto`` (follow the page). Needs the
    middleware. Where the accounts cannot be known, as on an error page, it is a link to the page that connects.
    """
    return {
        "csrf_token": context.get("csrf_token"),
        **pages.button(_request_of(context), text=text, next_url=next, size=size, theme=theme),
    }


@register.filter
def ontraport_state(account: OntraportAccount) -> pages.State:
    """Return the state of the link: its ``code``, ``name``, ``title`` and ``text``. Asks the database once whether the site is paused."""
    return pages.state_of(account)


@register.simple_tag
def ontraport_language() -> pages.Language:
    """Return the language of this app's own texts on the page: English where there are no translations for the page's."""
    return pages.spoken()


@register.simple_tag(takes_context=True)
def ontraport_site(context: Context) -> pages.Site:
    """Return the ``name`` of this site and the ``url`` of its first page."""
    return pages.site_of(_request_of(context))


@register.filter
def ontraport_ago(moment: datetime) -> str:
    """Render how long ago a moment was; the exact time, with its zone, appears to who points at it."""
    return pages.as_element(moment, pages.ago(moment))


@register.filter
def ontraport_day(moment: datetime) -> str:
    """Render the day of a moment; the exact time, with its zone, appears to who points at it."""
    return pages.as_element(moment, date_format(localtime(aware(moment))))


@register.filter
def ontraport_happened(event: OntraportEvent) -> str | Promise:
    """Return the words for an event in a link's history."""
    return pages.happened(event)


@register.filter
def ontraport_person(user: Any) -> str:
    """Return what a person is called: by the full name, or else by the user name."""
    return full_name_of(user) or name_of(user)


@register.filter
def ontraport_reason(code: str) -> str | Promise:
    """Return the words for an error code."""
    return pages.reason_for(code)
