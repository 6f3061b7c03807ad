"""The pages: they translate between HTTP and the flows of ``linking``, and decide nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from ontraport_connect import linking, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import LinkingFailed, OntraportMisconfigured
from ontraport_connect.models import Method, OntraportAccount, OntraportEvent

from . import addresses, editing, problems, responses, tenancy, tool_descriptions
from .forms import KeyForm, RenameForm

View = Callable[..., HttpResponse]

LONGEST_HISTORY = 10
"""Events of an account that its owner is shown."""


def private(view: View) -> View:
    """Make a view's page one that is never cached and never framed.

    Its address goes to no other site, and still to our own, since Django's CSRF protection asks for it.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return xframe_options_deny(never_cache(wrapper))


def page(view: View) -> View:
    """Make a view a private page for people who are signed in."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated or not request.user.is_active:
            return responses.not_signed_in(request)
        return view(request, *args, **kwargs)

    return private(wrapper)


@page
@require_safe
def accounts(request: HttpRequest) -> HttpResponse:
    """List the links of this owner, each with the latest of its history."""
    history = Prefetch("events", OntraportEvent.objects.order_by("-at", "-pk")[:LONGEST_HISTORY], to_attr="history")
    rows = list(OntraportAccount.objects.for_request(request).prefetch_related(history))
    context = {
        "accounts": rows,
        "is_refused": refreshing.is_site_refused(),
        "can_revoke": refreshing.can_revoke(),
        "may": tenancy.permissions(request),
    }
    return render(request, "ontraport_connect/accounts.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
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
        "uses": tool_descriptions.uses(),
        "is_limited": conf.ONTRAPORT_MCP_TOOLS is not None,
        "may": tenancy.permissions(request),
    }
    return render(request, "ontraport_connect/connect.html", context)


@page
@require_POST
def reconnect(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Send the browser to Ontraport for a new grant to an account that is linked already, or to the form for a new key."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    if account.method == Method.API_KEY:
        back = addresses.local_path(request.POST.get("next", ""))
        query = {"account": str(account.uid), **({"next": back} if back else {})}
        return HttpResponseRedirect(f"{reverse('ontraport_connect:connect_key')}?{urlencode(query)}")
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
    except LinkingFailed as error:
        return problems.leave(request, error, None)
    except OntraportMisconfigured as error:
        return problems.report(request, error)
    return _unreferred(HttpResponseRedirect(url))


@private
@transaction.non_atomic_requests
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Take Ontraport's answer, finish the attempt, and leave for an address that shows nothing of it."""
    if _cookie_was_held_back(request):
        return _unreferred(render(request, "ontraport_connect/return.html", {"query": request.GET.urlencode()}))
    if not request.user.is_authenticated or not request.user.is_active:
        return _unreferred(HttpResponseRedirect(problems.url("signed_out")))
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
        response = HttpResponseRedirect(problems.url("unknown"))
    except PermissionDenied:
        response = HttpResponseRedirect(problems.url("not_permitted"))
    except OntraportMisconfigured as error:
        response = problems.report(request, error)
    else:
        _say(request, _("%(account)s is connected."), account)
        response = HttpResponseRedirect(attempt.next or addresses.after_link_url())
    return _unreferred(response)


def _cookie_was_held_back(request: HttpRequest) -> bool:
    """Tell whether ``SESSION_COOKIE_SAMESITE = "Strict"`` kept the session from coming along: a step on our own site brings it."""
    return (
        settings.SESSION_COOKIE_SAMESITE == "Strict"
        and settings.SESSION_COOKIE_NAME not in request.COOKIES
        and "returned" not in request.GET
    )


def _unreferred(response: HttpResponse) -> HttpResponse:
    """Keep the address of this response, which may hold a code, from whoever is visited next."""
    response["Referrer-Policy"] = "no-referrer"
    return response


def _say(request: HttpRequest, words: str, account: object) -> None:
    messages.success(request, words % {"account": account}, fail_silently=True)


@private
@require_safe
def problem(request: HttpRequest, code: str) -> HttpResponse:
    """Say what became of an attempt that failed, and offer the next step. It knows nothing but what this session was told."""
    return problems.show(request, code)


@sensitive_post_parameters("app_id", "api_key")
@page
@transaction.non_atomic_requests
@require_http_methods(["GET", "HEAD", "POST"])
def connect_key(request: HttpRequest) -> HttpResponse:
    """Link an Ontraport account with an App ID and API key, tried with one live call before anything is stored."""
    tenancy.require(request, "link")
    uid = addresses.uuid_or_none(request.GET.get("account", ""))
    own = OntraportAccount.objects.for_request(request).filter(method=Method.API_KEY)
    account = get_object_or_404(own, uid=uid) if uid else None
    form = KeyForm(request.POST or None)
    back = addresses.local_path(request.POST.get("next", "") or request.GET.get("next", ""))
    if form.is_valid():
        try:
            linked = linking.link_key_pair(tenancy.owner_of(request), **form.secrets(), account=account)
        except LinkingFailed as error:
            form.add_error(None, error.message)
        else:
            _say(request, _("%(account)s is connected."), linked)
            return HttpResponseRedirect(back or addresses.after_link_url())
    context = {"form": form, "account": account, "next": back}
    return render(request, "ontraport_connect/connect_key.html", context, status=422 if form.errors else 200)


@page
@require_POST
def rename(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Call an account something else."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    form = RenameForm(request.POST)
    if form.is_valid():
        editing.rename(account, form.cleaned_data["label"])
        _say(request, _("This connection is called %(account)s now."), account)
    else:
        messages.error(request, " ".join(map(str, form.errors["label"])), fail_silently=True)
    return HttpResponseRedirect(reverse("ontraport_connect:accounts"))


@page
@require_POST
def make_default(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Use an account wherever a page does not ask for another."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    editing.make_default(tenancy.owner_of(request), account)
    _say(request, _("%(account)s is the default now."), account)
    return HttpResponseRedirect(reverse("ontraport_connect:accounts"))


@page
@require_POST
def disconnect(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Let an account go; pressed twice, the second time changes nothing."""
    account = OntraportAccount.objects.for_request(request).filter(uid=uid).first()
    if account is not None:
        tenancy.require(request, "disconnect")
        name, is_shared = str(account), refreshing.is_grant_shared(account)
        linking.unlink(account)
        _say(request, _("%(account)s is disconnected. This site can no longer use it."), name)
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


@require_safe
def client_metadata(request: HttpRequest) -> HttpResponse:
    """Serve this site's client metadata document, whose URL is its client id where it has no other."""
    return JsonResponse(addresses.client_metadata(request), headers={"Cache-Control": "public, max-age=300"})
