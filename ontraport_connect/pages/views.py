"""The views. They translate between HTTP and the flows in ``linking``, and make no other decisions."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from ontraport_connect import linking, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import LinkingFailed, OntraportMisconfigured
from ontraport_connect.models import Method, OntraportAccount, OntraportEvent, is_signed_in

from . import addresses, editing, laptop, problems, responses, tenancy, tool_descriptions
from .forms import KeyForm, RenameForm
from .view_decorators import in_own_language, page, posted_page, private

LONGEST_HISTORY = 10
"""Number of events shown per account."""


@page
@require_safe
def accounts(request: HttpRequest) -> HttpResponse:
    """List this owner's links, each with its latest events."""
    history = Prefetch("events", OntraportEvent.objects.order_by("-at", "-pk")[:LONGEST_HISTORY], to_attr="history")
    rows = list(OntraportAccount.objects.for_request(request).prefetch_related(history))
    context = {
        "accounts": rows,
        "is_refused": refreshing.is_site_refused(),
        "can_revoke": refreshing.can_revoke(),
        "may": tenancy.permissions(request),
        "made_for": tenancy.mark_of(request),
    }
    return render(request, "ontraport_connect/accounts.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def connect(request: HttpRequest) -> HttpResponse:
    """Explain what the site will ask for (GET), or send the browser to Ontraport (POST)."""
    if request.method == "POST":
        return _begin(request, None)
    uid = addresses.uuid_or_none(request.GET.get("account", ""))
    account = OntraportAccount.objects.for_request(request).filter(uid=uid).first() if uid else None
    context = {
        "account": account,
        "next": addresses.local_path(request.GET.get("next", "")),
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
    try:
        url = linking.begin(
            request.session,
            tenancy.owner_of(request),
            redirect_uri=addresses.secure_redirect_uri(request),
            client_id=addresses.client_metadata_url(request),
            next_url=back,
            account=account,
        )
    except LinkingFailed as error:
        return problems.leave(request, error, None)
    except OntraportMisconfigured as error:
        return problems.report(request, error)
    return responses.leave(request, url)


@login_not_required
@private
@transaction.non_atomic_requests
@in_own_language
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Complete the attempt with Ontraport's authorization response, and redirect to an address without its parameters."""
    if _cookie_was_held_back(request):
        return responses.come_back(request)
    if not is_signed_in(request.user):
        return responses.without_referrer(HttpResponseRedirect(problems.url("signed_out")))
    attempt = linking.find_attempt(request.session, request.GET.get("state", ""))
    try:
        owner = tenancy.owner_of(request)
        tenancy.require(request, "link")
        account, attempt = linking.complete(
            request.session, owner, dict(request.GET.lists()), address=request.META.get("REMOTE_ADDR", "")
        )
    except LinkingFailed as error:
        response = problems.leave(request, error, attempt)
    except Http404:
        response = HttpResponseRedirect(problems.url("switched_tenant" if attempt else "unknown"))
    except PermissionDenied:
        response = HttpResponseRedirect(problems.url("not_permitted"))
    except OntraportMisconfigured as error:
        response = problems.report(request, error)
    else:
        _success_message(request, _("%(account)s is connected."), account)
        response = HttpResponseRedirect(attempt.next or addresses.after_link_url())
    return responses.without_referrer(response)


def _cookie_was_held_back(request: HttpRequest) -> bool:
    """Tell whether ``SESSION_COOKIE_SAMESITE = "Strict"`` withheld the session cookie on the way from Ontraport.

    The browser sends the cookie again after one navigation within this site.
    """
    return (
        settings.SESSION_COOKIE_SAMESITE == "Strict"
        and settings.SESSION_COOKIE_NAME not in request.COOKIES
        and "returned" not in request.GET
    )


def _success_message(request: HttpRequest, words: str, account: object) -> None:
    messages.success(request, words % {"account": account}, fail_silently=True)


@login_not_required
@private
@require_safe
def problem(request: HttpRequest, code: str) -> HttpResponse:
    """Explain a failed attempt and offer the next step, from what this session has stored about it."""
    return problems.show(request, code)


@sensitive_post_parameters("app_id", "api_key")
@page
@transaction.non_atomic_requests
@require_http_methods(["GET", "HEAD", "POST"])
def connect_key(request: HttpRequest) -> HttpResponse:
    """Link an Ontraport account with an App ID and API key. One live call verifies them before anything is stored."""
    tenancy.require(request, "link")
    uid = addresses.uuid_or_none(request.GET.get("account", ""))
    own = OntraportAccount.objects.for_request(request).filter(method=Method.API_KEY)
    account = get_object_or_404(own, uid=uid) if uid else None
    form = KeyForm(request.POST if request.method == "POST" else None)
    back = addresses.local_path(request.POST.get("next", "") or request.GET.get("next", ""))
    if form.is_valid():
        try:
            linked = linking.link_key_pair(tenancy.owner_of(request), **form.secrets(), account=account)
        except LinkingFailed as error:
            form.add_error(None, error.message)
        else:
            _success_message(request, _("%(account)s is connected."), linked)
            return HttpResponseRedirect(back or addresses.after_link_url())
    context = {"form": form, "account": account, "next": back, "made_for": tenancy.mark_of(request)}
    return render(request, "ontraport_connect/connect_key.html", context, status=422 if form.errors else 200)


@posted_page
def rename(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Change the label of an account."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    form = RenameForm(request.POST)
    if form.is_valid():
        editing.rename(account, form.cleaned_data["label"])
        _success_message(request, _("This connection is called %(account)s now."), account)
    else:
        messages.error(request, " ".join(map(str, form.errors["label"])), fail_silently=True)
    return HttpResponseRedirect(reverse("ontraport_connect:accounts"))


@posted_page
def make_default(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Make an account the default: the one used where a page names no other."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    editing.make_default(tenancy.owner_of(request), account)
    _success_message(request, _("%(account)s is the default now."), account)
    return HttpResponseRedirect(reverse("ontraport_connect:accounts"))


@posted_page
def disconnect(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Disconnect an account. A second press of the button changes nothing and is not an error."""
    account = OntraportAccount.objects.for_request(request).filter(uid=uid).first()
    if account is not None:
        tenancy.require(request, "disconnect")
        name, is_shared = str(account), refreshing.is_grant_shared(account)
        linking.unlink(account)
        _success_message(request, _("%(account)s is disconnected. This site can no longer use it."), name)
        if is_shared:
            messages.info(
                request,
                _("Ontraport keeps this access, because another connection of this site uses it."),
                fail_silently=True,
            )
    elif not editing.was_disconnected(tenancy.owner_of(request), uid):
        raise Http404
    return HttpResponseRedirect(
        addresses.local_path(request.POST.get("next", "")) or reverse("ontraport_connect:accounts")
    )


@login_not_required
@require_safe
def client_metadata(request: HttpRequest) -> HttpResponse:
    """Serve the client metadata document. Its URL is the client id of a site without ``ONTRAPORT_CLIENT_ID``.

    Without ``ONTRAPORT_REDIRECT_URI`` it follows the request's host, so no cache may keep it for others.
    """
    response = JsonResponse(addresses.client_metadata(request))
    if conf.ONTRAPORT_REDIRECT_URI:
        response["Cache-Control"] = "public, max-age=300"
    else:
        response["Cache-Control"] = "no-store"
        patch_vary_headers(response, ["Host", "X-Forwarded-Host", "X-Forwarded-Proto"])
    return response
