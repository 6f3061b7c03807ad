"""The MCP server of mcp.ontraport.com: streamable HTTP at the root, without sessions or streams."""

import hashlib
import json
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from oauth2_provider.models import get_access_token_model

from example_project.sandbox import control
from example_project.sandbox.accounts import Account, account_of, account_with_key
from example_project.sandbox.mcp_tools import CALLABLE, DESCRIPTIONS, ToolError
from example_project.sandbox.rate_limit import rate_limit
from example_project.sandbox.settings import ORIGIN

PROTOCOL_VERSIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]
SCOPE = "mcp:tools"
INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, PARSE_ERROR = -32600, -32601, -32602, -32700


class RpcError(Exception):
    """A JSON-RPC error, with its code and its message."""


@require_safe
def resource_metadata(request: HttpRequest) -> HttpResponse:
    """Serve the protected resource metadata (RFC 9728)."""
    return JsonResponse(
        {
            "resource": ORIGIN,
            "authorization_servers": [ORIGIN],
            "scopes_supported": [SCOPE],
            "bearer_methods_supported": ["header"],
        }
    )


@csrf_exempt
def root(request: HttpRequest) -> HttpResponse:
    """Answer clients, which post. A person who opens the address in a browser gets the control page."""
    if request.method == "POST":
        return answer(request)
    if request.method == "GET" and "text/event-stream" not in request.headers.get("Accept", ""):
        return control.page(request)
    return HttpResponseNotAllowed(["POST"])


def authenticate(request: HttpRequest) -> Account | None:
    """Return the account of a bearer token, of `Bearer <app-id>:<api-key>`, or of the two headers of REST."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return account_with_key(request.headers.get("Api-Appid", ""), request.headers.get("Api-Key", ""))
    app_id, separator, api_key = credentials.partition(":")
    if separator:
        return account_with_key(app_id, api_key)
    checksum = hashlib.sha256(credentials.encode()).hexdigest()
    token = get_access_token_model().objects.select_related("user").filter(token_checksum=checksum).first()
    return account_of(token.user) if token is not None and token.is_valid([SCOPE]) else None


def unauthorized() -> HttpResponse:
    metadata = f"{ORIGIN}/.well-known/oauth-protected-resource"
    return JsonResponse(
        {"error": "unauthorized", "error_description": "Bearer token required"},
        status=401,
        headers={"WWW-Authenticate": f'Bearer resource_metadata="{metadata}", scope="{SCOPE}"'},
    )


def answer(request: HttpRequest) -> HttpResponse:
    account = authenticate(request)
    if account is None:
        return unauthorized()
    allowance = rate_limit.take(account.account_id)
    if allowance.allowed:
        response = answer_message(account, request.body)
    else:
        response = HttpResponse("Rate limit exceeded.", status=429, content_type="text/plain")
    for name, value in allowance.headers.items():
        response[name] = value
    return response


def rpc_error(message_id: Any, code: int, text: str, status: int = 200) -> HttpResponse:
    return JsonResponse(
        {"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": text}},
        status=status,
    )


def answer_message(account: Account, body: bytes) -> HttpResponse:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return rpc_error(None, PARSE_ERROR, "Parse error", 400)
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        return rpc_error(None, INVALID_REQUEST, "Invalid request", 400)
    if "id" not in message:
        return HttpResponse(status=202)
    params = message.get("params")
    try:
        result = answer_request(account, message["method"], params if isinstance(params, dict) else {})
    except RpcError as error:
        code, text = error.args
        return rpc_error(message["id"], code, text)
    return JsonResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})


def answer_request(account: Account, method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            return initialize(params)
        case "ping":
            return {}
        case "tools/list":
            return {"tools": DESCRIPTIONS}
        case "tools/call":
            return call_tool(account, params)
    raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")


def initialize(params: dict[str, Any]) -> dict[str, Any]:
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[-1],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "ontraport-sandbox", "title": "Sandbox, not Ontraport", "version": "1"},
    }


def call_tool(account: Account, params: dict[str, Any]) -> dict[str, Any]:
    tool = CALLABLE.get(str(params.get("name")))
    arguments = params.get("arguments") or {}
    if tool is None or not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, f"Unknown tool: {params.get('name')}")
    try:
        content = tool(account, arguments)
    except ToolError as error:
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}
    text = json.dumps(content, ensure_ascii=False)
    return {"content": [{"type": "text", "text": text}], "structuredContent": content, "isError": False}
