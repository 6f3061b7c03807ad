"""Counts and logs each request of a client, and applies the fault that the control page has set for its endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from ontraport_connect.sandbox import FAULT_TARGETS, Reply, Request, apply_fault, endpoint_of, is_lost

from . import connection
from .world import stand_in

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def message(request: HttpRequest) -> Request:
    """Return the request as a plain value."""
    return Request(
        method=str(request.method),
        path=request.path,
        query=request.GET.dict(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.body,
    )


def response(reply: Reply) -> HttpResponseBase:
    """Return the response that sends a reply."""
    if reply.stream:
        return StreamingHttpResponse(held_open(reply), content_type=reply.content_type, headers=dict(reply.headers))
    return HttpResponse(reply.body, status=reply.status, content_type=reply.content_type, headers=dict(reply.headers))


def held_open(reply: Reply, *, beat: float = 0.25) -> Iterator[bytes]:
    """Yield the body, and go on with it now and then until the time is over, so that a client that has gone is noticed."""
    end = time.monotonic() + reply.stream
    yield reply.body
    while time.monotonic() < end:
        time.sleep(min(beat, reply.stream))
        yield reply.body


def reply_of(response: HttpResponseBase) -> Reply:
    """Return a response as a plain value, for faults and the log."""
    body = response.content if isinstance(response, HttpResponse) else b""
    return Reply(status=response.status_code, body=body, content_type=response.headers.get("Content-Type", ""))


def counted_as(endpoint: str, request: HttpRequest) -> str:
    if endpoint != "token":
        return endpoint
    grant_type = request.POST.get("grant_type")
    return f"token:{grant_type}" if grant_type in {"authorization_code", "refresh_token"} else "token:other"


def opens_stream_or_ends_session(request: HttpRequest) -> bool:
    """Tell what MCP clients send beside their messages from a person who opens the control page."""
    is_stream = request.method == "GET" and "text/event-stream" in request.headers.get("Accept", "")
    return request.path == "/" and (is_stream or request.method == "DELETE")


def observe(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        endpoint = endpoint_of(str(request.method), request.path)
        if endpoint is None:
            answer = get_response(request)
            if opens_stream_or_ends_session(request):
                stand_in.log.add(message(request), reply_of(answer), at=time.time())
            return answer
        stand_in.switches.count(counted_as(endpoint, request))
        fault = stand_in.switches.take_fault(endpoint) if endpoint in FAULT_TARGETS else None
        asked, ours = message(request), []

        def handle() -> Reply:
            ours.append(get_response(request))
            return reply_of(ours[0])

        reply = apply_fault(fault, handle, time.sleep)
        stand_in.log.add(asked, reply, at=time.time())
        if is_lost(reply):
            connection.cut()
        return ours[0] if ours else response(reply)

    return middleware
