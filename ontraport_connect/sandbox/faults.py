"""What a fault does to a request: the reply in place of ours, the wait before, the loss after."""

from __future__ import annotations

from collections.abc import Callable

from .messages import NO_ANSWER, Reply, json_reply, text_reply
from .switches import Fault

MAINTENANCE = "<!doctype html><title>Be right back</title><h1>We are polishing things</h1><p>Come back soon."
HTML = "text/html"
ENDPOINTS = {
    "/oauth/authorize": "authorize",
    "/oauth/register": "register",
    "/oauth/revoke": "revoke",
    "/oauth/token": "token",
}

Sleep = Callable[[float], None]


def endpoint_of(method: str, path: str) -> str | None:
    """Return the name under which a request is counted and broken, or ``None`` for a page for people."""
    if path.startswith("/1/"):
        return "rest"
    if path == "/" and method == "POST":
        return "mcp"
    return ENDPOINTS.get(path)


def replacement(fault: Fault, sleep: Sleep) -> Reply | None:
    """Return the reply that replaces ours, or ``None`` when ours is only delayed or lost."""
    match fault.kind:
        case "429":
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return Reply(status=429, body=b"Too Many Requests", content_type="text/plain", headers=headers)
        case "hang":
            sleep(fault.seconds)
            return text_reply("<h1>503 Service Unavailable</h1>", 503, HTML)
        case "nonsense":
            return text_reply(MAINTENANCE, 200, HTML)
        case "invalid_client":
            return json_reply({"error": "invalid_client"}, 401)
        case "slow" | "late" | "lost":
            return None
    return text_reply(f"<h1>{fault.kind} Internal Server Error</h1>", int(fault.kind), HTML)


def apply(fault: Fault | None, handle: Callable[[], Reply], sleep: Sleep) -> Reply:
    """Return the reply to a request under a fault. Its status is ``NO_ANSWER`` when the answer is lost."""
    if fault is None:
        return handle()
    reply = replacement(fault, sleep)
    if reply is not None:
        return reply
    if fault.kind == "slow":
        sleep(fault.seconds)
    reply = handle()
    if fault.kind == "late":
        sleep(fault.seconds)
    return Reply(status=NO_ANSWER) if fault.kind == "lost" else reply


def is_lost(reply: Reply) -> bool:
    return reply.status == NO_ANSWER
