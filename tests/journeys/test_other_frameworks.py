"""Views of Django REST framework, and templates of Jinja2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import TemplateSyntaxError, loader
from django.test import Client, override_settings
from django.urls import include, path
from django.utils import timezone
from jinja2 import Environment
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView

from ontraport_connect.decorators import OntraportRequiredMixin
from ontraport_connect.jinja2 import connect_ontraport
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.rest_framework import OntraportConnected
from tests.support import ontraport
from tests.support.linked import key_account, linked_account, person
from tests.support.pages import text
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


class TokenAuthentication(BaseAuthentication):  # type: ignore[misc]  # the framework has no types
    """Knows people by a token, which here is their name; before the view nobody is signed in."""

    def authenticate(self, request: Any) -> tuple[Any, None] | None:
        name = request.headers.get("Authorization", "").removeprefix("Token ")
        if not name:
            return None
        user = get_user_model().objects.filter(username=name).first()
        if user is None:
            raise AuthenticationFailed
        return user, None

    def authenticate_header(self, request: Any) -> str:
        return "Token"


class View(APIView):  # type: ignore[misc]  # the framework has no types
    authentication_classes = [TokenAuthentication]
    renderer_classes = [JSONRenderer]

    def get(self, request: Any, **kwargs: Any) -> Response:
        uid = kwargs.get("uid")
        account = request.ontraport.get(uid) if uid else request.ontraport.account
        return Response({"label": account.label})


class Mixed(OntraportRequiredMixin, View):
    pass


class MixedOne(OntraportRequiredMixin, View):
    ontraport_account = "uid"
    permission_classes = [IsAuthenticated]


class Permitted(View):
    permission_classes = [OntraportConnected]


class PermittedOne(View):
    permission_classes = [IsAuthenticated, OntraportConnected]
    ontraport_account = "uid"


def jinja_page(request: HttpRequest) -> HttpResponse:
    return render(request, "shop.jinja", using="jinja2")


def jinja_mail(request: HttpRequest) -> HttpResponse:
    return HttpResponse(loader.render_to_string("shop.jinja", {"request": None}, using="jinja2"))


def environment(**options: Any) -> Environment:
    """What an adopter names in TEMPLATES."""
    environment = Environment(**options)  # noqa: S701  # Django switches autoescaping on
    environment.globals["connect_ontraport"] = connect_ontraport
    return environment


urlpatterns = [
    path("ontraport/", include("ontraport_connect.urls")),
    path("mixed/", Mixed.as_view()),
    path("mixed/<uuid:uid>/", MixedOne.as_view()),
    path("permitted/", Permitted.as_view()),
    path("permitted/<uuid:uid>/", PermittedOne.as_view()),
    path("page/", jinja_page),
    path("mail/", jinja_mail),
]

EACH = pytest.mark.parametrize("address", ["/mixed/", "/permitted/"])
ASKS_FOR_JSON = {"accept": "application/json"}


@pytest.fixture(autouse=True)
def at_sandbox(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


def call(client: Client, address: str, name: str = "maya") -> Any:
    return client.get(address, headers={**ASKS_FOR_JSON, **({"authorization": f"Token {name}"} if name else {})})


@EACH
def test_a_view_for_people_with_tokens_runs_with_their_account(client: Client, address: str) -> None:
    account = key_account(person("maya"), label="Shop")
    theirs = key_account(person("tomas"), label="Other")
    assert call(client, address).json() == {"label": "Shop"}
    assert call(client, f"{address}{account.uid}/").json() == {"label": "Shop"}
    assert call(client, f"{address}{theirs.uid}/").status_code == 404
    assert call(client, address, "tomas").json() == {"label": "Other"}


@EACH
def test_whom_the_framework_does_not_know_it_refuses(client: Client, address: str) -> None:
    key_account(person("maya"))
    for name in ("", "nobody"):
        assert call(client, address, name).status_code == 401
    assert call(client, f"{address}{OntraportAccount.objects.get().uid}/", "").status_code == 401


@EACH
def test_without_a_usable_account_it_says_where_to_connect(client: Client, address: str) -> None:
    maya = person("maya")
    response = call(client, address)
    assert response.status_code == 401
    assert response.json()["error"] == "ontraport_not_connected"
    where = urlsplit(response.json()["connect_url"])
    assert (where.hostname, where.path, where.query.partition("=")[0]) == ("testserver", "/ontraport/connect/", "next")
    account = key_account(maya, status=Status.NEEDS_RECONNECT)
    response = call(client, address)
    assert response.status_code == 401
    assert response.json()["error"] == "ontraport_reconnect_required"
    assert str(account.uid) in response.json()["connect_url"]


@EACH
def test_while_ontraport_is_away_it_says_so(client: Client, sandbox: Sandbox, address: str) -> None:
    linked_account(person("maya"), sandbox)
    OntraportAccount.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    sandbox.set(fault="500", fault_target="token")
    response = call(client, address)
    assert (response.status_code, response.json()) == (503, {"error": "ontraport_unavailable"})


def test_the_framework_is_imported_by_who_uses_it_only() -> None:
    script = (
        "import sys, django; django.setup()\n"
        "import ontraport_connect.decorators, ontraport_connect.urls, ontraport_connect.admin\n"
        "print([name for name in ('rest_framework', 'jinja2') if name in sys.modules])"
    )
    environ = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }  # without Sentry, which imports all that it knows
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def jinja(tmp_path: Any, settings: Any) -> Iterator[None]:
    (tmp_path / "shop.jinja").write_text('<p>{{ connect_ontraport(request, text="Link <it>", theme="dark") }}</p>')
    backend = {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [tmp_path],
        "OPTIONS": {"environment": f"{__name__}.environment"},
    }
    with override_settings(TEMPLATES=[backend, *settings.TEMPLATES]):
        yield


def test_the_button_in_a_template_of_jinja(client: Client, sandbox: Sandbox, jinja: None) -> None:
    client.force_login(person("maya"))
    page = text(client.get("/page/?a=1"))
    assert "Link &lt;it&gt;</button>" in page
    assert "ontraport-dark" in page
    fields = ontraport.hidden_fields(page)
    assert fields["csrfmiddlewaretoken"]
    callback = ontraport.consent(ontraport.press_connect(client, **fields))
    assert ontraport.come_back(client, callback)["Location"] == "/page/?a=1"
    assert "Connected as <strong><bdi>Harbour Street Coffee</bdi></strong>" in text(client.get("/page/"))


def test_the_button_in_a_template_of_jinja_without_a_request(client: Client, jinja: None) -> None:
    button = text(client.get("/mail/"))
    assert 'href="/ontraport/connect/">' in button
    assert "Link &lt;it&gt;</a>" in button


def test_the_button_in_a_template_of_jinja_leads_to_the_page_that_it_is_told(
    client: Client, jinja: None, tmp_path: Any
) -> None:
    (tmp_path / "shop.jinja").write_text('{{ connect_ontraport(request, next="/orders/") }}')
    client.force_login(person("maya"))
    assert ontraport.hidden_fields(text(client.get("/page/")))["next"] == "/orders/"


def test_a_wrong_argument_is_said_to_the_developer_in_jinja_too() -> None:
    with pytest.raises(TemplateSyntaxError, match="small, medium, large"):
        connect_ontraport(None, size="huge")


def test_templates_of_jinja_show_no_secret_unless_they_call_for_it_outside_of_the_sandbox() -> None:
    account = key_account(person("maya"))
    shown = Environment(autoescape=True).from_string("{{ account.access_token }} {{ account }}").render(account=account)
    assert shown == "[secret] Ontraport 187157"
    template = SandboxedEnvironment(autoescape=True).from_string("{{ account.access_token.reveal() }}")
    with pytest.raises(SecurityError):
        template.render(account=account)


class Everything(ModelSerializer):  # type: ignore[misc]  # the framework has no types
    class Meta:
        model = OntraportAccount
        fields = "__all__"


def test_a_serializer_of_all_fields_shows_no_secret_and_writes_none() -> None:
    """https://github.com/ansible/awx/issues/1416"""
    account = key_account(person("maya"))
    shown = Everything(account).data
    assert "sandbox-key-owner" not in repr(shown)
    assert {shown[name] for name in ("access_token", "app_id")} == {"[secret]"}
    written = Everything(account, data={**shown, "label": "Shop", "access_token": "another"})
    assert written.is_valid(), written.errors
    written.save()
    stored = OntraportAccount.objects.get()
    assert (stored.label, stored.access_token.reveal()) == ("Shop", "sandbox-key-owner")
