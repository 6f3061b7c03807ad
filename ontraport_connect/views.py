"""The pages: they translate between HTTP and the flows of ``linking``, and decide nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST, require_safe

from . import addresses, keys, linking, problems, responses, tenancy
from .conf import conf
from .exceptions import LinkingFailed, OntraportMisconfigured
from .forms import KeyForm
from .models import Method, OntraportAccount

View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """Make a view a page of ours: for people who are signed in, never cached, never framed."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return responses.not_signed_in(request)
        return view(request, *args, **kwargs)

    return xframe_options_deny(never_cache(wrapper))


@page
@require_safe
def accounts(request: HttpRequest) -> HttpResponse:
    """List the links of this owner."""
    rows = OntraportAccount.objects.for_request(request)
    return render(request, "ontraport_connect/accounts.html", {"accounts": rows, "may": tenancy.permissions(request)})


@page
def connect(request: HttpRequest) -> HttpResponse:
    """Explain what will be asked (GET), and send the browser to Ontraport (POST)."""
    if request.method == "POST":
        return _begin(request, None)
    uid = addresses.uuid_or_none(request.GET.get("account", ""))
    account = OntraportAccount.objects.for_request(request).filter(uid=uid).first() if uid else None
    context = {
        "account": account,
        "next": addresses.local_path(request.GET.get("next", "")),
        "scopes": conf.ONTRAPORT_SCOPES,
        "tools": conf.ONTRAPORT_MCP_TOOLS,
        "may": tenancy.permissions(request),
    }
    return render(request, "ontraport_connect/connect.html", context)


@page
@require_POST
def reconnect(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Send the browser to Ontraport for a new grant to an account that is linked already."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    if account.method == Method.API_KEY:
        return HttpResponseRedirect(f"{reverse('ontraport_connect:connect_key')}?account={account.uid}")
    return _begin(request, account)


def _begin(request: HttpRequest, account: OntraportAccount | None) -> HttpResponse:
    tenancy.require(request, "link")
    try:
        url = linking.begin(
            request.session,
            tenancy.owner_of(request),
            redirect_uri=addresses.redirect_uri(request),
            client_id=addresses.client_metadata_url(request),
            next_url=addresses.local_path(request.POST.get("next", "")),
            account=account,
        )
    except OntraportMisconfigured as error:
        return problems.report(request, error)
    return _private(HttpResponseRedirect(url))


@xframe_options_deny
@never_cache
@transaction.non_atomic_requests
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Take Ontraport's answer, finish the attempt, and leave for an address that shows nothing of it."""
    if _cookie_was_held_back(request):
        return _private(render(request, "ontraport_connect/return.html", {"query": request.GET.urlencode()}))
    if not request.user.is_authenticated or not request.user.is_active:
        return _private(HttpResponseRedirect(problems.url("signed_out")))
    parameters = {name: request.GET.getlist(name) for name in request.GET}
    try:
        account, attempt = linking.complete(request.session, tenancy.owner_of(request), parameters)
    except LinkingFailed as error:
        return _private(problems.leave(request, error))
    messages.success(request, _("%(account)s is connected.") % {"account": account})
    return _private(HttpResponseRedirect(attempt.next or addresses.after_link_url()))


def _cookie_was_held_back(request: HttpRequest) -> bool:
    """Tell whether ``SESSION_COOKIE_SAMESITE = "Strict"`` kept the session from coming along: a step on our own site brings it."""
    return (
        settings.SESSION_COOKIE_SAMESITE == "Strict"
        and settings.SESSION_COOKIE_NAME not in request.COOKIES
        and "returned" not in request.GET
    )


def _private(response: HttpResponse) -> HttpResponse:
    """Keep the address of this response, which may hold a code, from whoever is visited next."""
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"
    return response


@page
@require_safe
def problem(request: HttpRequest, code: str) -> HttpResponse:
    """Say what became of an attempt that failed, and offer the next step."""
    return problems.show(request, code)


@sensitive_post_parameters("app_id", "api_key")
@page
@transaction.non_atomic_requests
def connect_key(request: HttpRequest) -> HttpResponse:
    """Link an Ontraport account with an App ID and API key, tried with one live call before anything is stored."""
    form = KeyForm(request.POST or None)
    uid = addresses.uuid_or_none(request.GET.get("account", ""))
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid) if uid else None
    if request.method == "POST":
        tenancy.require(request, "link")
        if form.is_valid():
            try:
                linked = keys.link(tenancy.owner_of(request), **form.secrets(), account=account)
            except LinkingFailed as error:
                form.add_error(None, error.message)
            else:
                messages.success(request, _("%(account)s is connected.") % {"account": linked})
                return HttpResponseRedirect(
                    addresses.local_path(request.POST.get("next", "")) or addresses.after_link_url()
                )
    context = {"form": form, "account": account, "next": addresses.local_path(request.GET.get("next", ""))}
    return render(request, "ontraport_connect/connect_key.html", context, status=200 if not form.errors else 422)


@page
@require_POST
def disconnect(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Let an account go."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "disconnect")
    name = str(account)
    linking.unlink(account)
    messages.success(request, _("%(account)s is disconnected. This site can no longer use it.") % {"account": name})
    return HttpResponseRedirect(
        addresses.local_path(request.POST.get("next", "")) or reverse("ontraport_connect:accounts")
    )


@require_safe
def client_metadata(request: HttpRequest) -> HttpResponse:
    """Serve this site's client metadata document, whose URL is its client id where it has no other."""
    return JsonResponse(addresses.client_metadata(request), headers={"Cache-Control": "public, max-age=300"})
