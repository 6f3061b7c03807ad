"""The authorization server of app.ontraport.com, built on django-oauth-toolkit."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from oauth2_provider import views
from oauth2_provider.exceptions import OAuthToolkitError
from oauthlib.oauth2 import InvalidRequestError

from ontraport_connect.sandbox import account_of

from .world import ORIGIN, stand_in

GRANT_TYPES = ["authorization_code", "refresh_token"]
TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "none"]

# Of two requests that spend one refresh token, one must come second and be refused (RFC 9700, 4.14.2).
# django-oauth-toolkit reads the token before its transaction begins, and would give both the same successor.
token_lock = threading.Lock()


@require_safe
def server_metadata(request: HttpRequest) -> HttpResponse:
    """Serve the metadata of RFC 8414, with the fields and values that Ontraport publishes."""
    return JsonResponse(
        {
            "issuer": stand_in.issuer,
            "authorization_endpoint": f"{ORIGIN}/oauth/authorize",
            "token_endpoint": f"{ORIGIN}/oauth/token",
            "registration_endpoint": f"{ORIGIN}/oauth/register",
            "revocation_endpoint": f"{ORIGIN}/oauth/revoke",
            "response_types_supported": ["code"],
            "grant_types_supported": GRANT_TYPES,
            "token_endpoint_auth_methods_supported": TOKEN_ENDPOINT_AUTH_METHODS,
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["mcp:tools"],
            "client_id_metadata_document_supported": True,
            "authorization_response_iss_parameter_supported": True,
        }
    )


def with_issuer(redirect_uri: str) -> str:
    """Give an authorization response its one `iss`, also when it is an error (RFC 9207)."""
    parts = urlsplit(redirect_uri)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "iss"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("iss", stand_in.issuer)])))


class AuthorizationView(views.AuthorizationView):  # type: ignore[misc]
    template_name = "authorize.html"

    def validate_authorization_request(self, request: HttpRequest) -> Any:
        scopes, credentials = super().validate_authorization_request(request)
        if credentials.get("code_challenge_method") != "S256":
            error = InvalidRequestError(description="Only S256 is supported.", state=credentials.get("state"))
            raise OAuthToolkitError(error=error, redirect_uri=credentials["redirect_uri"])
        return scopes, credentials

    def redirect(self, redirect_to: str, application: Any) -> HttpResponse:
        response: HttpResponse = super().redirect(with_issuer(redirect_to), application)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        redirect_uri = urlsplit(kwargs.get("redirect_uri", ""))
        kwargs.update(
            account=account_of(self.request.user.get_username()),
            redirect_origin=f"{redirect_uri.scheme}://{redirect_uri.netloc}",
        )
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context


class TokenView(views.TokenView):  # type: ignore[misc]
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.POST.get("grant_type") not in GRANT_TYPES:
            return JsonResponse({"error": "unsupported_grant_type"}, status=400)
        with token_lock, transaction.atomic():
            response: HttpResponse = super().post(request, *args, **kwargs)
        if response.status_code == 200 and not stand_in.switches.settings.send_expires_in:
            message = json.loads(response.content)
            del message["expires_in"]
            response.content = json.dumps(message)
        return response


class RegistrationView(views.DynamicClientRegistrationView):  # type: ignore[misc]
    """Register a client (RFC 7591), with the client authentication methods that Ontraport publishes."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post(request, *args, **kwargs)
        if response.status_code != 201:
            return response
        registration = json.loads(response.content)
        registration.update(response_types=["code"], scope="mcp:tools")
        if "client_secret" in registration:
            registration |= {"token_endpoint_auth_method": "client_secret_post", "client_secret_expires_at": 0}
        return JsonResponse(registration, status=201)
