"""Counts each request of a client, and applies the fault that the control page has set for its endpoint."""

import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from example_project.sandbox.state import FAULT_TARGETS, Fault, controls

GetResponse = Callable[[HttpRequest], HttpResponse]

ENDPOINTS = {
    "/oauth/authorize": "authorize",
    "/oauth/register": "register",
    "/oauth/revoke": "revoke",
    "/oauth/token": "token",
}
MAINTENANCE = "<!doctype html><title>Be right back</title><h1>We are polishing things</h1><p>Come back soon."


def endpoint_of(request: HttpRequest) -> str | None:
    if request.path.startswith("/1/"):
        return "rest"
    if request.path == "/" and request.method == "POST":
        return "mcp"
    return ENDPOINTS.get(request.path)


def counted_as(endpoint: str, request: HttpRequest) -> str:
    if endpoint != "token":
        return endpoint
    grant_type = request.POST.get("grant_type")
    return f"token:{grant_type}" if grant_type in {"authorization_code", "refresh_token"} else "token:other"


def faulty_response(fault: Fault) -> HttpResponse | None:
    """Return the response that replaces ours, or ``None`` when ours is only delayed."""
    match fault.kind:
        case "500":
            return HttpResponse("<h1>500 Internal Server Error</h1>", status=500)
        case "429":
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return HttpResponse("Too Many Requests", status=429, content_type="text/plain", headers=headers)
        case "hang":
            time.sleep(fault.seconds)
            return HttpResponse("<h1>503 Service Unavailable</h1>", status=503)
        case "nonsense":
            return HttpResponse(MAINTENANCE)
        case "invalid_client":
            return JsonResponse({"error": "invalid_client"}, status=401)
    return None


def observe(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponse:
        endpoint = endpoint_of(request)
        if endpoint is None:
            return get_response(request)
        controls.count(counted_as(endpoint, request))
        fault = controls.take_fault(endpoint) if endpoint in FAULT_TARGETS else None
        if fault is None:
            return get_response(request)
        response = faulty_response(fault)
        if response is not None:
            return response
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        response = get_response(request)
        if fault.kind == "late":
            time.sleep(fault.seconds)
        return response

    return middleware
