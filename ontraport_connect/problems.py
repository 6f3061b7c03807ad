"""What is said when an attempt to link has failed: what happened, whose turn it is, and one button on."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .exceptions import LinkingFailed, OntraportError

logger = logging.getLogger("ontraport_connect")

SESSION_KEY = "ontraport_connect.problem"

EXPLANATIONS: Mapping[str, tuple[Promise, Promise]] = {
    "unknown": (
        _("We could not match this answer to an attempt"),
        _(
            "It was started in another browser or session, or too long ago. Nothing was connected. Please start again here."
        ),
    ),
    "signed_out": (
        _("You are signed out"),
        _("Connecting was not completed, since you are not signed in here any more. Sign in and start again."),
    ),
    "other_owner": (
        _("This attempt was started by somebody else"),
        _(
            "The person who starts connecting must be the one who completes it. Nothing was connected. You can start your own."
        ),
    ),
    "issuer": (
        _("This answer did not come from Ontraport"),
        _("Nothing was sent and nothing was connected. Please start again, and tell us if you see this twice."),
    ),
    "used": (
        _("This attempt was completed already"),
        _(
            "An answer from Ontraport counts once. If you pressed Back or reloaded, your account may be connected already."
        ),
    ),
    "expired": (
        _("That took longer than ten minutes"),
        _("For your safety an attempt ends after ten minutes. Nothing was connected. Please start again."),
    ),
    "denied": (
        _("Access was not allowed"),
        _(
            "You, or somebody for you, chose not to allow access at Ontraport. Nothing was connected. You can try again whenever you like."
        ),
    ),
    "unavailable": (
        _("Ontraport is not answering"),
        _("Nothing was changed, and nothing is wrong with your account. Please try again in a few minutes."),
    ),
    "misconfigured": (
        _("This site is not set up for Ontraport yet"),
        _("It is our turn, not yours: the people who run this site have been told. Please try again later."),
    ),
    "different_account": (
        _("That is a different Ontraport account"),
        _("You were signed in to another Ontraport account than the one of this connection. Nothing was changed."),
    ),
}
OTHER = (_("Connecting did not work"), _("Nothing was changed. Please try again."))


def url(code: str) -> str:
    return reverse("ontraport_connect:problem", args=[code])


def leave(request: HttpRequest, error: LinkingFailed) -> HttpResponse:
    """Redirect to the page that explains. What belongs to no attempt of this session leaves no trace in it."""
    if error.code not in {"unknown", "other_owner"}:
        request.session[SESSION_KEY] = {
            "code": error.code,
            "message": error.message,
            "said": getattr(error, "said", ""),
        }
    return HttpResponseRedirect(url(error.code))


def report(request: HttpRequest, error: OntraportError) -> HttpResponse:
    """Tell the operator in the log, and the person that it is the operator's turn."""
    logger.critical("Nobody can connect Ontraport: %s", error)
    return HttpResponseRedirect(url("misconfigured"))


def show(request: HttpRequest, code: str) -> HttpResponse:
    kept = request.session.get(SESSION_KEY) or {}
    details = kept if kept.get("code") == code else {}
    title, text = EXPLANATIONS.get(code, OTHER)
    context = {
        "code": code,
        "title": title,
        "text": text,
        "message": details.get("message", ""),
        "said": details.get("said", ""),
    }
    return render(request, "ontraport_connect/problem.html", context)
