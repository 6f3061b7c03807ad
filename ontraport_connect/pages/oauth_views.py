"""The views of the way to Ontraport and back. They translate between HTTP and the flow in ``linking``, and make no other decisions."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlencode, urljoin
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseFailure
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from ontraport_connect import linking
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import LinkingFailed, OntraportMisconfigured
from ontraport_connect.linking import Attempt
from ontraport_connect.models import Method, OntraportAccount

from . import addresses, browsers, laptop, problems, responses, tenancy, tool_descriptions, way_back
from .state_texts import state_of
from .view_decorators import in_own_language, outside_transactions, page, posted_page, private


@page
@require_http_methods(["GET", "HEAD", "POST"])
def connect(request: HttpRequest) -> HttpResponse:
    """Explain what the site will ask for (GET), or send the browser to Ontraport (POST)."""
    if request.method == "POST":
        return _begin(request, None)
    uid = addresses.uuid_or_none(request.GET.get("account", ""))
    account = OntraportAccount.objects.for_request(request).filter(uid=uid).first() if uid else None
    back = addresses.local_path(request.GET.get("next", ""))
    context = {
        "account": account,
        "state": state_of(account) if account else None,
        "next": back,
        "is_needed": way_back.needs_link(request, back),
        "back": way_back.back(request, back),
        "scopes": conf.ONTRAPORT_SCOPES,
        "uses": tool_descriptions.uses(),
        "is_limited": conf.ONTRAPORT_MCP_TOOLS is not None,
        "may": tenancy.permissions(request),
        "made_for": tenancy.mark_of(request),
    }
    return render(request, "ontraport_connect/connect.html", context)


@posted_page
def reconnect(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Send the browser to Ontraport for a new grant of an existing link, or to the form for a new key pair."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    if account.method == Method.API_KEY:
        back = addresses.local_path(request.POST.get("next", ""))
        return HttpResponseRedirect(_start_url(reverse("ontraport_connect:connect_key"), account, back, ""))
    return _begin(request, account)


def _start_url(page: str, account: OntraportAccount | None, back: str, made_for: str) -> str:
    values = {"account": str(account.uid) if account else "", "next": back, tenancy.MADE_FOR: made_for}
    query = {name: value for name, value in values.items() if value}
    return f"{page}?{urlencode(query)}" if query else page


def _begin(request: HttpRequest, account: OntraportAccount | None) -> HttpResponse:
    tenancy.require(request, "link")
    back = addresses.local_path(request.POST.get("next", ""))
    elsewhere = addresses.other_start(request)
    if elsewhere:
        return responses.leave(request, _start_url(elsewhere, account, back, tenancy.mark_of(request)))
    if (first_steps := laptop.start_the_sandbox(request)) is not None:
        return first_steps
    browser = browsers.browser_to_start(request)
    try:
        url = linking.begin(
            browser,
            tenancy.owner_of(request),
            redirect_uri=addresses.sound_redirect_uri(request),
            client_id=addresses.client_metadata_url(request),
            next_url=back,
            origin=addresses.origin_to_return_to(request),
            account=account,
        )
    except LinkingFailed as error:
        return HttpResponseRedirect(problems.leave(request, error, None))
    return browsers.remember(responses.leave(request, url), browser)


@login_not_required
@private
@outside_transactions
@in_own_language
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Complete the attempt with Ontraport's authorization response, and redirect to an address without its parameters."""
    try:
        is_nobody = tenancy.is_nobody(request)
    except OntraportMisconfigured as error:
        return responses.without_referrer(HttpResponseRedirect(problems.report(error)))
    if is_nobody and _cookie_was_held_back(request):
        return responses.come_back(request)
    browser = browsers.browser_of(request)
    attempt = None
    with suppress(DatabaseFailure):  # reported by linking.complete, which looks again
        attempt = linking.find_attempt(browser, request.GET.get("state", ""))
    path = problems.url("signed_out") if is_nobody else _complete(request, browser, attempt)
    return responses.without_referrer(HttpResponseRedirect(urljoin(attempt.origin, path) if attempt else path))


def _complete(request: HttpRequest, browser: str, attempt: Attempt | None) -> str:
    """Complete the attempt, and return the address to go on to: a path, or a URL."""
    try:
        owner = tenancy.owner_of_attempt(request, attempt)
        account, completed = linking.complete(
            browser, owner, dict(request.GET.lists()), address=request.META.get("REMOTE_ADDR", "")
        )
    except LinkingFailed as error:
        return problems.leave(request, error, attempt)
    except PermissionDenied:
        return problems.url("not_permitted")
    except OntraportMisconfigured as error:
        return problems.report(error)
    messages.success(request, _("%(account)s is connected.") % {"account": account}, fail_silently=True)
    return completed.next or addresses.after_link_url()


def _cookie_was_held_back(request: HttpRequest) -> bool:
    """Tell whether ``SameSite=Strict`` may have withheld the cookie by which the person is known, on the way from Ontraport.

    That may be the session's, or another one, such as a JWT's. The browser sends it again after one navigation within this site.
    """
    if "returned" in request.GET:
        return False
    is_session_strict = settings.SESSION_COOKIE_SAMESITE == "Strict"
    return (is_session_strict and settings.SESSION_COOKIE_NAME not in request.COOKIES) or (
        request.headers.get("Sec-Fetch-Site") == "cross-site"
    )
