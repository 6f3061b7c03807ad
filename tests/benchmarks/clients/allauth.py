"""django-allauth: `get_access_token_data` and `parse_token`, as its `OAuth2CallbackView` calls them; its callback is that view."""

from __future__ import annotations

from typing import Any

import django
import requests
from django.conf import settings
from django.contrib.sessions.backends.cache import SessionStore
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.test import RequestFactory
from django.urls import path

from tests.benchmarks.clients.attempt import TIMEOUT, main
from tests.benchmarks.hostile_answers import CLIENT_ID, CLIENT_SECRET, CODE, VERIFIER

settings.configure(
    SECRET_KEY="a-key-that-protects-nothing-and-is-long-enough-for-django",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "allauth",
        "allauth.account",
        "allauth.socialaccount",
    ],
    MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    SOCIALACCOUNT_REQUESTS_TIMEOUT=TIMEOUT,
    SOCIALACCOUNT_PROVIDERS={"ontraport": {"APPS": [{"client_id": CLIENT_ID, "secret": CLIENT_SECRET}]}},
)
django.setup()

from allauth.core.context import request_context  # noqa: E402
from allauth.socialaccount.adapter import get_adapter  # noqa: E402
from allauth.socialaccount.internal import statekit  # noqa: E402
from allauth.socialaccount.providers import registry  # noqa: E402
from allauth.socialaccount.providers.base import ProviderException  # noqa: E402
from allauth.socialaccount.providers.oauth2.client import OAuth2Error  # noqa: E402
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider  # noqa: E402
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter, OAuth2CallbackView  # noqa: E402

REFUSALS = (PermissionDenied, OAuth2Error, requests.RequestException, ProviderException)
"""The errors that the view catches and shows a page for."""


class OntraportAdapter(OAuth2Adapter):  # type: ignore[misc,no-any-unimported,unused-ignore]
    provider_id = "ontraport"
    access_token_url = ""

    def complete_login(self, request: Any, app: Any, token: Any, **kwargs: Any) -> Any:
        raise ProviderException("The tokens are there; who they belong to is not measured.")


class OntraportProvider(OAuth2Provider):  # type: ignore[misc,no-any-unimported,unused-ignore]
    id = "ontraport"
    name = "Ontraport"
    oauth2_adapter_class = OntraportAdapter


registry.register(OntraportProvider)
callback_view = OAuth2CallbackView.adapter_view(OntraportAdapter)
urlpatterns = [path("callback/", callback_view, name="ontraport_callback")]


def exchange(url: str) -> None:
    request = RequestFactory().get("/callback/", {"code": CODE})
    with request_context(request):
        adapter = OntraportAdapter(request)
        adapter.access_token_url = url
        call_command("migrate", verbosity=0)
        app = get_adapter(request).get_app(request, provider="ontraport")
        client = adapter.get_client(request, app)
        adapter.parse_token(adapter.get_access_token_data(request, app, client, pkce_code_verifier=VERIFIER))


def callback(url: str, issuer: str, iss: str) -> None:
    """The library has no setting for the issuer."""
    call_command("migrate", verbosity=0)
    request = RequestFactory().get("/callback/")
    request.session = SessionStore()
    state = statekit.stash_state(request=request, state={"process": "login"}, provider_id="ontraport")
    request.GET = {"code": CODE, "state": state, "iss": iss}  # type: ignore[assignment]
    OntraportAdapter.access_token_url = url
    with request_context(request):
        callback_view(request)


if __name__ == "__main__":
    main(REFUSALS, exchange=exchange, callback=callback)
