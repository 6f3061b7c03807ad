"""Responses that replace a view when no usable account is available: a redirect or page for browsers, JSON for API clients."""

from __future__ import annotations

import math
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.html import format_html
from django.utils.translation import gettext as _

from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import OntraportAccount

from . import addresses, problems

RETRY_AFTER = 60.0
"""Seconds, where nobody knows how long Ontraport will be away."""


def wants_json(request: HttpRequest) -> bool:
    """Tell whether the client prefers JSON to HTML, or sends JSON."""
    return (
        request.content_type == "application/json"
        or request.get_preferred_type(["text/html", "application/json"]) == "application/json"
    )


def not_signed_in(request: HttpRequest) -> HttpResponse:
    """Redirect to the login page and back, or answer 401 with JSON."""
    if wants_json(request):
        return _private(JsonResponse({"error": "login_required"}, status=401))
    return _private(redirect_to_login(_after_signing_in(request)))


def _after_signing_in(request: HttpRequest) -> str:
    """Return the path to come back to after login: this page for GET, else the page that holds the button to press again."""
    if request.method in {"GET", "HEAD"} and not _is_posted_only(request):
        return request.get_full_path()
    if request.path not in {reverse("ontraport_connect:connect"), reverse("ontraport_connect:connect_key")}:
        return reverse("ontraport_connect:accounts")
    back = addresses.local_path(request.POST.get("next", ""))
    query = {**request.GET.dict(), **({"next": back} if back else {})}
    return request.path + (f"?{urlencode(query)}" if query else "")


def _is_posted_only(request: HttpRequest) -> bool:
    """Tell whether the view of this request takes no GET: see ``view_decorators.posted_page``."""
    match = request.resolver_match
    return match is not None and getattr(match.func, "redirect_field_name", "") is None


def not_usable(request: HttpRequest, account: OntraportAccount | None) -> HttpResponse:
    """Redirect to connect, or to reconnect ``account``, and back; or answer 401 with JSON."""
    url = connect_url(request, account)
    if wants_json(request):
        error = "ontraport_not_connected" if account is None else "ontraport_reconnect_required"
        return _private(JsonResponse({"error": error, "connect_url": request.build_absolute_uri(url)}, status=401))
    return _private(HttpResponseRedirect(url))


def connect_url(request: HttpRequest, account: OntraportAccount | None) -> str:
    """Return the connect page's address, with this page as ``next`` if the request is a GET."""
    back = request.get_full_path() if request.method in {"GET", "HEAD"} else ""
    query = {**({"next": back} if back else {}), **({"account": str(account.uid)} if account else {})}
    return reverse("ontraport_connect:connect") + (f"?{urlencode(query)}" if query else "")


def switched_tenant(request: HttpRequest) -> HttpResponse:
    """Answer 409: the form was made for another tenant than the one the person works in now. Nothing was done."""
    return _explained(request, "switched_tenant", 409, error="tenant_switched")


def not_permitted(request: HttpRequest) -> HttpResponse:
    """Answer 403: this person may not do that here."""
    return _explained(request, "not_permitted", 403)


def only_posted(request: HttpRequest) -> HttpResponse:
    """Answer 405 with a page: somebody opened the address of a form, as with a reload by hand after a mistake was shown there."""
    response = _explained(request, "posted", 405)
    response["Allow"] = "POST"
    return response


def in_use(request: HttpRequest) -> HttpResponse:
    """Answer 409: other data of the site needs this account. Nothing was done."""
    return _explained(request, "in_use", 409)


def misconfigured(request: HttpRequest, error: OntraportMisconfigured) -> HttpResponse:
    """Log the error for the operator. Redirect to the page that says that the operator has to act, or answer 503 with JSON."""
    url = problems.report(error)
    if wants_json(request):
        return _private(JsonResponse({"error": "misconfigured"}, status=503))
    return _private(HttpResponseRedirect(url))


def not_set_up(request: HttpRequest) -> HttpResponse:
    """Answer 503: the operator of this site has to act."""
    return _explained(request, "misconfigured", 503)


def _explained(request: HttpRequest, code: str, status: int, *, error: str = "") -> HttpResponse:
    """Answer with the page that explains the problem ``code``, or with JSON: ``error``, by default the code."""
    if wants_json(request):
        return _private(JsonResponse({"error": error or code}, status=status))
    response = problems.show(request, code)
    response.status_code = status
    return _private(response)


def disconnected(name: str) -> str:
    """Return the message that an account was disconnected, with a link to connect again, as safe HTML."""
    words = _("Disconnected %(account)s.") % {"account": name}
    return format_html('{} <a href="{}">{}</a>', words, reverse("ontraport_connect:connect"), _("Connect again"))


def unavailable(request: HttpRequest, error: OntraportUnavailable) -> HttpResponse:
    """Answer 503: the link works, but Ontraport cannot be reached now. ``Retry-After`` is as the error says, or else a minute.

    After a write that Ontraport may have carried out nobody is asked to repeat it: there is no ``Retry-After``, and the page says so.
    """
    is_unknown = error.outcome_unknown
    if wants_json(request):
        body = {"error": "ontraport_unavailable", **({"outcome_unknown": True} if is_unknown else {})}
        response: HttpResponse = JsonResponse(body, status=503)
    else:
        context = {"outcome_unknown": is_unknown}
        response = render(request, "ontraport_connect/unavailable.html", context, status=503)
    if not is_unknown:
        seconds = RETRY_AFTER if error.retry_after is None else error.retry_after
        response["Retry-After"] = str(math.ceil(seconds))
    return _private(response)


def leave(request: HttpRequest, url: str) -> HttpResponse:
    """Send the browser on from a form of this site to ``url`` on another host, without a referrer.

    A browser gets a page that goes there by itself, since Chromium applies ``form-action`` of the site's Content-Security-Policy to
    redirects of a form, too (https://github.com/w3c/webappsec-csp/issues/8): ``form-action 'self'`` would block a redirect without a
    word. The page needs no script, and is replaced in the history by where it leads. htmx is told to go there, since a request of a
    script may not follow a redirect to another host. Other clients get a redirect.
    """
    if request.headers.get("HX-Request") == "true":
        return without_referrer(HttpResponse(headers={"HX-Redirect": url}))
    if request.headers.get("Sec-Fetch-Mode") == "navigate":
        return without_referrer(render(request, "ontraport_connect/step.html", {"url": url}))
    return without_referrer(HttpResponseRedirect(url))


def come_back(request: HttpRequest) -> HttpResponse:
    """Repeat the request to the callback from a page of this site, which brings a ``SameSite=Strict`` session cookie along."""
    url = f"{reverse('ontraport_connect:callback')}?{request.GET.urlencode()}&returned=1"
    return without_referrer(render(request, "ontraport_connect/step.html", {"url": url, "is_back": True}))


def without_referrer(response: HttpResponse) -> HttpResponse:
    """Send no referrer from this response: the request's address may hold an authorization code."""
    response["Referrer-Policy"] = "no-referrer"
    return response


def _private(response: HttpResponse) -> HttpResponse:
    """Forbid caching: the response depends on the person, the time and the ``Accept`` header."""
    patch_vary_headers(response, ["Accept", "Cookie"])
    response["Cache-Control"] = "no-store"
    return response
