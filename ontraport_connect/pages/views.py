"""The views. They translate between HTTP and the flows in ``linking``, and make no other decisions."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from ontraport_connect import linking, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.models import Method, OntraportAccount

from . import addresses, editing, listing, problems, responses, tenancy, way_back
from .forms import KeyForm, RenameForm
from .view_decorators import outside_transactions, page, posted_page, private


@page
@require_safe
def accounts(request: HttpRequest) -> HttpResponse:
    """List this owner's links, each with its latest events."""
    return listing.show(request)


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
@outside_transactions
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
    if form.errors:
        form.explain_empty_key()
    made_for, out = tenancy.mark_of(request), way_back.back(request, back)
    context = {"form": form, "account": account, "next": back, "back": out, "made_for": made_for}
    return render(request, "ontraport_connect/connect_key.html", context, status=422 if form.errors else 200)


@posted_page
def rename(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Change the label of an account."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    form = RenameForm(request.POST)
    if form.is_valid():
        editing.rename(account, form.cleaned_data["label"])
        _success_message(request, _("Renamed to %(account)s."), account)
        return HttpResponseRedirect(addresses.card_url(account))
    return listing.show(request, renamed=account, form=form)


@posted_page
def make_default(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Make an account the default: the one used where a page names no other."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    editing.make_default(tenancy.owner_of(request), account)
    _success_message(request, _("%(account)s is now the default."), account)
    return HttpResponseRedirect(addresses.card_url(account))


@posted_page
def disconnect(request: HttpRequest, uid: UUID) -> HttpResponse:
    """Disconnect an account. A second press of the button changes nothing and is not an error."""
    account = OntraportAccount.objects.for_request(request).filter(uid=uid).first()
    if account is not None:
        tenancy.require(request, "disconnect")
        name, is_shared = str(account), refreshing.is_grant_shared(account)
        try:
            linking.unlink(account)
        except IntegrityError:
            return responses.in_use(request)
        messages.success(request, responses.disconnected(name), fail_silently=True)
        if is_shared:
            messages.info(
                request,
                _("Ontraport keeps the access, because another connection on this site uses it."),
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

    Without ``ONTRAPORT_REDIRECT_URI`` it follows the request's host, so no cache may keep it for others. Neither may one keep the answer to
    who brings cookies: the site may renew a session cookie with it (``SESSION_SAVE_EVERY_REQUEST``).
    """
    response = JsonResponse(addresses.client_metadata(request))
    is_for_all = conf.ONTRAPORT_REDIRECT_URI and not request.COOKIES
    response["Cache-Control"] = "public, max-age=300" if is_for_all else "no-store"
    patch_vary_headers(response, ["Cookie"])
    if not conf.ONTRAPORT_REDIRECT_URI:
        patch_vary_headers(response, ["Host", "X-Forwarded-Host", "X-Forwarded-Proto"])
    return response
