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
from ontraport_connect.models import OntraportAccount, person_of

from . import addresses, tenancy, way_back

logger = logging.getLogger("ontraport_connect")

SESSION_KEY = "ontraport_connect.problem"
LEAVES_NO_TRACE = frozenset({"unknown", "other_owner", "switched_tenant"})
"""Codes of answers that belong to no attempt of this session; they must not change the session (RFC 9700, 4.7)."""

LONGEST_NEXT = 200
"""Characters. A longer ``next`` is dropped: the session may be a cookie."""

YOURS, THEIRS, OURS = _("Action needed"), _("Problem at Ontraport"), _("Problem on our side")


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The text of one kind of problem.

    ``way_on`` is what the button does: ``again`` (try again), ``accounts``, ``back`` (to where the person came from), or ``either`` (for
    an account that was signed in to instead of another). ``details`` adds the error's own message, which names the accounts involved.
    """

    title: Promise
    text: Promise
    turn: Promise = YOURS
    way_on: str = "again"
    details: bool = False


EXPLANATIONS: Mapping[str, Explanation] = {
    "unknown": Explanation(
        title=_("This sign-in link is no longer valid"),
        text=_(
            "It may have been used already, opened in another browser, or expired. Nothing changed. If your account isn't connected yet,"
            " try again."
        ),
    ),
    "signed_out": Explanation(
        title=_("You're signed out"),
        text=_("You were signed out of this site before we could finish. Sign in and try again."),
    ),
    "other_owner": Explanation(
        title=_("Someone else started this"),
        text=_("The person who starts connecting an account has to finish it. Nothing was connected."),
    ),
    "switched_tenant": Explanation(
        title=_("You've switched workspaces"),
        text=_(
            "You started this in a different workspace, so nothing was changed. Continue in this one, or switch back and try again there."
        ),
        way_on="accounts",
    ),
    "not_permitted": Explanation(
        title=_("You can't connect accounts here"),
        text=_("You don't have permission to connect Ontraport. Ask a workspace admin."),
        way_on="accounts",
    ),
    "in_use": Explanation(
        title=_("This account is still in use"),
        text=_("Other data on this site needs it, so nothing was changed. Contact us if you want it disconnected."),
        way_on="accounts",
    ),
    "issuer": Explanation(
        title=_("This answer didn't come from Ontraport"),
        text=_("Nothing was sent or connected. Try again, and contact us if it happens again."),
    ),
    "used": Explanation(
        title=_("You've already finished this"),
        text=_("If you went back or reloaded the page, your account may already be connected."),
        way_on="accounts",
    ),
    "expired": Explanation(
        title=_("That took too long"),
        text=_("For your security, you have ten minutes to finish connecting. Nothing was connected."),
    ),
    "denied": Explanation(
        title=_("You didn't allow access"),
        text=_("Your account is unchanged. You can connect Ontraport whenever you're ready."),
        turn=_("Not connected"),
        way_on="back",
    ),
    "refused": Explanation(
        title=_("Ontraport couldn't complete the connection"),
        text=_("Nothing changed. Try again. If it keeps happening, send us what Ontraport says here."),
        turn=THEIRS,
    ),
    "code": Explanation(
        title=_("Ontraport couldn't confirm the sign-in"),
        text=_("It may have been used already, or have taken too long. Nothing was connected."),
    ),
    "incomplete": Explanation(
        title=_("Ontraport's answer was incomplete"), text=_("Nothing was connected. Please try again."), turn=THEIRS
    ),
    "too_many_accounts": Explanation(
        title=_("You've reached the limit of accounts"),
        text=_("Nothing changed."),
        way_on="accounts",
        details=True,
    ),
    "too_many": Explanation(
        title=_("Too many attempts"),
        text=_(
            "To protect everyone's accounts, connecting is paused for you. Nothing changed. Wait ten minutes and try again."
        ),
    ),
    "unavailable": Explanation(
        title=_("Ontraport isn't responding"),
        text=_("Nothing in your Ontraport account was changed or lost. Please try again in a few minutes."),
        turn=THEIRS,
    ),
    "failed": Explanation(
        title=_("Something on our side isn't working"), text=_("Nothing was connected. Please try again."), turn=OURS
    ),
    "misconfigured": Explanation(
        title=_("Something on our side isn't working"),
        text=_("Please try again later. If it keeps happening, let us know."),
        turn=OURS,
        way_on="accounts",
    ),
    "different_account": Explanation(
        title=_("That's a different Ontraport account"),
        text=_("Sign out of Ontraport, then try again with the right account. Or keep both: connect this one as well."),
        way_on="either",
        details=True,
    ),
    "unidentified": Explanation(
        title=_("Ontraport didn't say whose account this is"),
        text=_("We couldn't make sure it's the same account as before, so nothing was changed."),
        turn=THEIRS,
    ),
    "posted": Explanation(
        title=_("This address only works from a button"),
        text=_("Nothing changed. Use the buttons on the page with your accounts."),
        way_on="accounts",
    ),
    "twice": Explanation(
        title=_("Couldn't connect"), text=_("This account was changed at the same moment. Please try again.")
    ),
    "gone": Explanation(
        title=_("This connection was removed meanwhile"),
        text=_("Someone disconnected it while you were at Ontraport. You can connect the account again."),
    ),
}
OTHER = Explanation(title=_("Couldn't connect"), text=_("Please try again in a moment."), details=True)


def url(code: str) -> str:
    """Return the address of the page that explains ``code``."""
    return reverse("ontraport_connect:problem", args=[code])


def leave(request: HttpRequest, error: LinkingFailed, attempt: Attempt | None) -> str:
    """Remember ``error``, and return the address of the page that explains it. Its button leads back to the page and account of
    ``attempt``.
    """
    session = getattr(request, "session", None)  # a site may have none
    if session is not None and error.code not in LEAVES_NO_TRACE:
        session[SESSION_KEY] = {
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
    kept = getattr(request, "session", {}).get(SESSION_KEY) or {}
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
    """Return the button, a second link to the site or to where the person came from, and for ``either`` the account that was expected."""
    query = {name: details[name] for name in ("next", "account") if details.get(name)}
    again = reverse("ontraport_connect:connect") + (f"?{urlencode(query)}" if query else "")
    back = way_back.back(request, details.get("next", ""))
    if person_of(request) is None:
        return {"way_on": redirect_to_login(again).url, "way_on_text": _("Sign in"), "back": back}
    if explanation.way_on == "accounts":
        return {
            "way_on": reverse("ontraport_connect:accounts"),
            "way_on_text": _("See your accounts"),
            "back": back,
        }
    return {
        "way_on": again,
        "way_on_text": _("Try again"),
        "back": back,
        "is_back_first": explanation.way_on == "back",
        **(_either(request, details) if explanation.way_on == "either" else {}),
    }


def _either(request: HttpRequest, details: Mapping[str, Any]) -> dict[str, object]:
    """Return what the two forms after a different account need: to connect that one as well, or to try again with ``expected``."""
    uid = addresses.uuid_or_none(details.get("account", ""))
    expected = OntraportAccount.objects.for_request(request).filter(uid=uid).first() if uid else None
    if expected is None:
        return {}
    return {
        "expected": expected,
        "ontraport_url": way_back.ontraport_url(),
        "next": details["next"],
        "made_for": tenancy.mark_of(request),
    }
