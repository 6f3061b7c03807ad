"""The pages as JSON for front ends, under the same URLs: accounts, connect, reconnect, rename, default, disconnect, key pair.

Every error is an object with a stable ``error``; see ``openapi.json``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.debug import sensitive_post_parameters

from ontraport_connect import linking, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.models import Method, OntraportAccount, OntraportEvent

from . import addresses, browsers, editing, tenancy, tool_descriptions
from .forms import KeyForm, RenameForm
from .json_messages import Body, as_json, failure
from .json_views import json_view
from .view_decorators import outside_transactions

LONGEST_HISTORY = 10

STATUSES = {
    "different_account": 409,
    "gone": 409,
    "misconfigured": 503,
    "too_many": 429,
    "too_many_accounts": 409,
    "unavailable": 503,
}
"""The status of an answer for a code of ``LinkingFailed``; the others are 422."""


@json_view("GET")
def accounts(request: HttpRequest, body: Body) -> HttpResponse:
    """List this owner's links, each with its latest events."""
    events = OntraportEvent.objects.using(alias()).order_by("-at", "-pk")[:LONGEST_HISTORY]
    history = Prefetch("events", events, to_attr="history")
    rows = OntraportAccount.objects.for_request(request).prefetch_related(history)
    return JsonResponse(
        {
            "accounts": [as_json(account) for account in rows],
            "is_site_refused": refreshing.is_site_refused(),
            "can_revoke": refreshing.can_revoke(),
            "may": tenancy.permissions(request),
            "made_for": tenancy.mark_of(request),
        }
    )


@json_view("GET", "POST")
def connect(request: HttpRequest, body: Body) -> HttpResponse:
    """Say what the site will ask for (GET), or return the address to send the browser to (POST)."""
    if request.method == "POST":
        return _begin(request, body, None)
    uses = [
        {"tool": use.name, "reach": str(use.reach.value) if use.reach else "", "text": str(use.words)}
        for use in tool_descriptions.uses()
    ]
    return JsonResponse(
        {
            "scopes": list(conf.ONTRAPORT_SCOPES),
            "uses": uses,
            "is_limited": conf.ONTRAPORT_MCP_TOOLS is not None,
            "may": tenancy.permissions(request),
            "made_for": tenancy.mark_of(request),
        }
    )


@json_view("POST")
def reconnect(request: HttpRequest, body: Body, uid: UUID) -> HttpResponse:
    """Return the address to send the browser to. A link by key pair takes a new pair at ``connect_key`` instead."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    if account.method == Method.API_KEY:
        return failure("key_pair_needed", 409)
    return _begin(request, body, account)


def _begin(request: HttpRequest, body: Body, account: OntraportAccount | None) -> HttpResponse:
    tenancy.require(request, "link")
    back = addresses.local_path(body.text("next"))
    elsewhere = addresses.other_start(request)
    if elsewhere:
        values = {
            "account": str(account.uid) if account else "",
            "next": back,
            tenancy.MADE_FOR: tenancy.mark_of(request),
        }
        query = urlencode({name: value for name, value in values.items() if value})
        return JsonResponse({"url": f"{elsewhere}?{query}" if query else elsewhere})
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
        return _linking_failed(error)
    return browsers.remember(JsonResponse({"url": url}), browser)


def _linking_failed(error: LinkingFailed) -> HttpResponse:
    return failure(error.code, STATUSES.get(error.code, 422), error.message)


@sensitive_post_parameters("app_id", "api_key")
@outside_transactions
@json_view("POST")
def connect_key(request: HttpRequest, body: Body) -> HttpResponse:
    """Link an App ID and API key, or replace the pair of the link that ``account`` names. One live call verifies them first."""
    tenancy.require(request, "link")
    text = body.text("account")
    own = OntraportAccount.objects.for_request(request).filter(method=Method.API_KEY)
    account = get_object_or_404(own, uid=addresses.uuid_or_none(text)) if text else None
    form = KeyForm(body.texts("app_id", "api_key", "label"))
    if not form.is_valid():
        return _invalid(form)
    try:
        linked = linking.link_key_pair(tenancy.owner_of(request), **form.secrets(), account=account)
    except LinkingFailed as error:
        return _linking_failed(error)
    return JsonResponse(as_json(linked), status=200 if account else 201)


@json_view("POST")
def rename(request: HttpRequest, body: Body, uid: UUID) -> HttpResponse:
    """Change the label of an account. An empty one is no label."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    form = RenameForm(body.texts("label"))
    if not form.is_valid():
        return _invalid(form)
    editing.rename(account, form.cleaned_data["label"])
    return JsonResponse(as_json(account))


def _invalid(form: Any) -> HttpResponse:
    fields = {name: [str(text) for text in texts] for name, texts in form.errors.items()}
    return failure("invalid", 422, fields=fields)


@json_view("POST")
def make_default(request: HttpRequest, body: Body, uid: UUID) -> HttpResponse:
    """Make an account the default."""
    account = get_object_or_404(OntraportAccount.objects.for_request(request), uid=uid)
    tenancy.require(request, "link")
    editing.make_default(tenancy.owner_of(request), account)
    return JsonResponse(as_json(account))


@json_view("POST")
def disconnect(request: HttpRequest, body: Body, uid: UUID) -> HttpResponse:
    """Disconnect an account. To do so twice is not an error. ``grant_kept``: another link of this site uses the same access."""
    account = OntraportAccount.objects.for_request(request).filter(uid=uid).first()
    if account is None:
        if not editing.was_disconnected(tenancy.owner_of(request), uid):
            raise Http404
        return JsonResponse({"uid": str(uid), "grant_kept": False})
    tenancy.require(request, "disconnect")
    is_shared = refreshing.is_grant_shared(account)
    try:
        linking.unlink(account)
    except IntegrityError:
        return failure("in_use", 409)
    return JsonResponse({"uid": str(uid), "grant_kept": is_shared})
