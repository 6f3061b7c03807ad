"""The page shown after a failed attempt to link: what happened, who has to act, and one button to continue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ontraport_connect.exceptions import LinkingFailed, OntraportError
from ontraport_connect.linking import Attempt

logger = logging.getLogger("ontraport_connect")

SESSION_KEY = "ontraport_connect.problem"
LEAVES_NO_TRACE = frozenset({"unknown", "other_owner", "switched_tenant"})
"""Codes of answers that belong to no attempt of this session; they must not change the session (RFC 9700, 4.7)."""

LONGEST_NEXT = 200
"""Characters. A longer ``next`` is dropped: the session may be a cookie."""

YOURS, THEIRS, OURS = _("You need to act"), _("Ontraport needs to act"), _("We need to act")


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The text of one kind of problem.

    ``way_on`` is ``again`` (start again) or ``accounts``. ``details`` adds the error's own message, which names the accounts involved.
    """

    title: Promise
    text: Promise
    turn: Promise = YOURS
    way_on: str = "again"
    details: bool = False


EXPLANATIONS: Mapping[str, Explanation] = {
    "unknown": Explanation(
        title=_("We could not match this answer to an attempt"),
        text=_(
            "It was used already, was started in another browser or session, or is too old. It changed nothing here. If your account is not"
            " connected yet, please start again."
        ),
    ),
    "signed_out": Explanation(
        title=_("You are signed out"),
        text=_("Connecting was not completed, since you were not signed in here any more. Sign in and start again."),
    ),
    "other_owner": Explanation(
        title=_("This attempt was started by somebody else"),
        text=_(
            "The person who starts connecting must be the one who completes it. Nothing was connected. You can start your own."
        ),
    ),
    "switched_tenant": Explanation(
        title=_("You have switched workspaces"),
        text=_(
            "You started this in a different workspace from the one you are in now, so nothing was changed. You can go on in this"
            " one, or switch back and try again there."
        ),
        way_on="accounts",
    ),
    "not_permitted": Explanation(
        title=_("You may not connect accounts here"),
        text=_(
            "Nothing was connected. Ask the people who manage this workspace to permit it to you, then start again."
        ),
        way_on="accounts",
    ),
    "issuer": Explanation(
        title=_("This answer did not come from Ontraport"),
        text=_("Nothing was sent and nothing was connected. Please start again, and tell us if you see this twice."),
    ),
    "used": Explanation(
        title=_("This attempt was completed already"),
        text=_(
            "An answer from Ontraport counts once. If you pressed Back or reloaded, your account may be connected already."
        ),
        way_on="accounts",
    ),
    "expired": Explanation(
        title=_("That took longer than ten minutes"),
        text=_("For your safety an attempt ends after ten minutes. Nothing was connected. Please start again."),
    ),
    "denied": Explanation(
        title=_("Access was not allowed"),
        text=_(
            "You, or somebody for you, chose not to allow access at Ontraport. Nothing was connected. You can try again whenever you like."
        ),
    ),
    "refused": Explanation(
        title=_("Ontraport did not complete the connection"),
        text=_("Nothing was changed. Please try again; if it happens again, tell us what Ontraport says."),
        turn=THEIRS,
    ),
    "code": Explanation(
        title=_("Ontraport did not accept its own answer"),
        text=_("It may have been used before, or have taken too long. Nothing was connected. Please start again."),
    ),
    "incomplete": Explanation(
        title=_("Ontraport's answer was incomplete"),
        text=_("Nothing was connected. Please start again."),
    ),
    "too_many_accounts": Explanation(
        title=_("No more accounts can be connected"),
        text=_("Nothing was changed."),
        way_on="accounts",
        details=True,
    ),
    "too_many": Explanation(
        title=_("There were many attempts to connect"),
        text=_(
            "To protect all accounts here, no more are made for now. Nothing was changed. Please wait ten minutes, then start again."
        ),
    ),
    "unavailable": Explanation(
        title=_("Ontraport is not answering"),
        text=_("Nothing was changed, and nothing is wrong with your account. Please try again in a few minutes."),
        turn=THEIRS,
    ),
    "misconfigured": Explanation(
        title=_("This site cannot connect to Ontraport at the moment"),
        text=_("Only the people who run this site can fix this. Please try again later."),
        turn=OURS,
        way_on="accounts",
    ),
    "different_account": Explanation(
        title=_("That is a different Ontraport account"),
        text=_(
            "Sign out at Ontraport, start again, and sign in to the account of this connection; or connect the other one as well."
        ),
        details=True,
    ),
    "unidentified": Explanation(
        title=_("Ontraport did not say whose account this is"),
        text=_("Without that we cannot tell that it is the same account as before. Nothing was changed."),
        turn=THEIRS,
    ),
    "gone": Explanation(
        title=_("This connection was removed in the meantime"),
        text=_("Somebody disconnected it while you were at Ontraport. You can connect the account anew."),
    ),
}
OTHER = Explanation(title=_("Connecting did not work"), text=_("Please try again in a moment."), details=True)


def url(code: str) -> str:
    """Return the address of the page that explains ``code``."""
    return reverse("ontraport_connect:problem", args=[code])


def leave(request: HttpRequest, error: LinkingFailed, attempt: Attempt | None) -> str:
    """Remember ``error``, and return the address of the page that explains it. Its button leads back to the page and account of
    ``attempt``.
    """
    if error.code not in LEAVES_NO_TRACE:
        request.session[SESSION_KEY] = {
            "code": error.code,
            "message": error.message,
            "said": getattr(error, "said", ""),
            "account": attempt.account if attempt else "",
            "next": attempt.next if attempt and len(attempt.next) <= LONGEST_NEXT else "",
        }
    return url(error.code)


def report(error: OntraportError) -> str:
    """Log the error for the operator, and return the address of the page that says that the site's operator has to act."""
    logger.critical("Nobody can connect Ontraport: %s", error)
    return url("misconfigured")


def show(request: HttpRequest, code: str) -> HttpResponse:
    """Render the explanation of ``code``. Details are shown only if this session's last problem has the same code."""
    explanation = EXPLANATIONS.get(code, OTHER)
    kept = request.session.get(SESSION_KEY) or {}
    details = kept if kept.get("code") == code else {}
    context = {
        "code": code,
        "explanation": explanation,
        "message": details.get("message", "") if explanation.details else "",
        "said": details.get("said", ""),
        **_way_on(request, explanation, details),
    }
    return render(request, "ontraport_connect/problem.html", context)


def _way_on(request: HttpRequest, explanation: Explanation, details: Mapping[str, Any]) -> dict[str, object]:
    query = {name: details[name] for name in ("next", "account") if details.get(name)}
    again = reverse("ontraport_connect:connect") + (f"?{urlencode(query)}" if query else "")
    if not request.user.is_authenticated:
        return {"way_on": redirect_to_login(again).url, "way_on_text": _("Sign in")}
    if explanation.way_on == "accounts":
        return {"way_on": reverse("ontraport_connect:accounts"), "way_on_text": _("See your accounts")}
    return {"way_on": again, "way_on_text": _("Start again")}
