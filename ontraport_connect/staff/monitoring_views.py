"""The URLs ``health`` and ``metrics`` for monitoring, guarded by a token"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ontraport_connect import monitoring
from ontraport_connect.conf import conf

from .site_condition import condition, gauges

View = Callable[[HttpRequest], HttpResponse]


def _guarded(view: View) -> View:
    """Answer 404 without ``ONTRAPORT_MONITORING_TOKEN``, and 401 to those who do not send it as a bearer token (RFC 6750, 2.1)."""

    @wraps(view)
    def wrapper(request: HttpRequest) -> HttpResponse:
        token = conf.ONTRAPORT_MONITORING_TOKEN
        if token is None:
            raise Http404
        scheme, _blank, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not constant_time_compare(given, token):  # RFC 9110, 11.1: any case
            return JsonResponse({"error": "unauthorized"}, status=401, headers={"WWW-Authenticate": "Bearer"})
        return view(request)

    guarded: View = login_not_required(never_cache(require_safe(wrapper)))
    return guarded


@_guarded
def health(request: HttpRequest) -> HttpResponse:
    """Answer 200, or 503 with the codes of what is wrong. The number of queries does not depend on the number of accounts."""
    found = condition()
    body = {
        "status": "ok" if found.is_well else "failing",
        "problems": found.problems,
        "warnings": found.warnings,
        "seconds": found.numbers,
    }
    return JsonResponse(body, status=200 if found.is_well else 503)


@_guarded
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics in Prometheus' text format: 404 without the extra ``prometheus``, 503 while the database is away."""
    if not monitoring.is_prometheus_installed():
        raise Http404
    try:
        found = list(gauges())
    except (DatabaseError, InterfaceError):
        return HttpResponse(status=503)
    text, content_type = monitoring.metrics_text(found)
    return HttpResponse(text, content_type=content_type)
