"""REST and MCP over HTTP: each request goes to the stand-in's logic as a plain value."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from . import control
from .observing import message, response
from .world import ORIGIN, SCOPE, stand_in


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    text = "Bad request. The stand-in answers to 127.0.0.1, localhost, and the hosts of --host, --url and --internal-url.\n"
    return HttpResponse(text, status=400, content_type="text/plain")


@csrf_exempt
def rest(request: HttpRequest, path: str) -> HttpResponseBase:
    return response(stand_in.rest(message(request)))


@csrf_exempt
def root(request: HttpRequest) -> HttpResponseBase:
    """Answer MCP clients. A person who opens the address in a browser gets the control page."""
    if request.method == "GET" and "text/event-stream" not in request.headers.get("Accept", ""):
        return control.page(request)
    return response(stand_in.mcp(message(request)))


@require_safe
def resource_metadata(request: HttpRequest) -> HttpResponse:
    """Serve the protected resource metadata (RFC 9728)."""
    return JsonResponse(
        {
            "resource": ORIGIN,
            "authorization_servers": [stand_in.issuer],
            "scopes_supported": [SCOPE],
            "bearer_methods_supported": ["header"],
        }
    )
