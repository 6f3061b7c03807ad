"""What ``request.user`` may be: missing, ``None``, a client with an API key, a row of another model, somebody without a user name.

And how a person may be known: by a cookie of another name than the session's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as site_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.test import Client, override_settings
from django.urls import include, path
from django.utils.functional import SimpleLazyObject

from ontraport_connect.decorators import ontraport_required
from ontraport_connect.models import OntraportAccount, OntraportEvent, name_of
from tests.support import ontraport
from tests.support.linked import linked_account, person
from tests.support.pages import ACCOUNTS, CONNECT, KEY, linked, text, url
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
CALLBACK = f"{ACCOUNTS}callback/"
NOT_SET_UP = f"{ACCOUNTS}problem/misconfigured/"


def with_button(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Template("{% load ontraport_connect %}{% connect_ontraport %}").render(RequestContext(request)))


def own_links(request: Any) -> HttpResponse:
    return HttpResponse(", ".join(map(str, request.ontraport.accounts)))


@ontraport_required
def needing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Used.")


urlpatterns = [
    path("ontraport/", include("ontraport_connect.urls")),
    path("login/", with_button),
    path("button/", with_button),
    path("links/", own_links),
    path("needing/", needing),
]


def signs_in(user: Callable[[HttpRequest], Any]) -> type:
    """Make a middleware that stands in for Django's, and takes the user of a request from a function."""

    class Middleware:
        def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
            self.get_response = get_response

        def __call__(self, request: Any) -> Any:
            request.user = user(request)
            return self.get_response(request)

    return Middleware


class NobodyIsSet:
    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)


def stand_in(**values: Any) -> Any:
    """What packages put in the place of a user: it says of itself that it is signed in."""
    return SimpleNamespace(is_authenticated=True, is_active=True, get_username=lambda: "stand-in", **values)


def row_of_another_model(request: HttpRequest) -> Any:
    """A customer, a device, …: its key is the number that maya's is."""
    group = Group(pk=get_user_model().objects.get(username="maya").pk, name="Customers")
    group.is_authenticated = group.is_active = True  # type: ignore[attr-defined]
    return group


def of_cookie(request: HttpRequest) -> Any:
    """As packages for JWT do it: nothing is asked before the user is needed."""
    users = get_user_model().objects
    return SimpleLazyObject(lambda: users.filter(username=request.COOKIES.get("jwt", "")).first() or AnonymousUser())


NoneIsNobody = signs_in(lambda request: None)
Keyless = signs_in(lambda request: stand_in(pk=None))
OfToken = signs_in(lambda request: stand_in(pk=get_user_model().objects.get(username="maya").pk))
AnotherModel = signs_in(row_of_another_model)
OfCookie = signs_in(of_cookie)
Unsaved = signs_in(lambda request: get_user_model()(username="a client with an API key"))


@pytest.fixture(autouse=True)
def at_sandbox(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url), LOGIN_URL="/login/"):
        yield


def middleware(name: str) -> list[str]:
    """Return the site's middleware with another one in place of Django's that sets ``request.user``."""
    own = f"{__name__}.{name}"
    others = [each for each in site_settings.MIDDLEWARE if "messages" not in each]
    return [own if each == AUTHENTICATION else each for each in others]


def without_admin() -> list[str]:
    return [each for each in site_settings.INSTALLED_APPS if "admin" not in each]


@pytest.mark.parametrize("name", ["Keyless", "OfToken", "AnotherModel", "Unsaved"])
def test_what_is_no_user_of_this_site_owns_no_links(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """https://github.com/jazzband/djangorestframework-simplejwt (TokenUser): its key may be nobody's, or another table's.

    A row whose user is gone has no user either, and ``filter(user=None)`` would find it.
    """
    linked(person("maya"), label="Maya's")
    OntraportAccount.objects.create(label="Nobody's", refresh_token="r")
    with override_settings(MIDDLEWARE=middleware(name), INSTALLED_APPS=without_admin()):
        client = Client()
        assert text(client.get("/links/")) == ""
        assert "s</bdi>" not in text(client.get("/button/"))
        assert client.get("/needing/")["Location"] == "/login/?next=/needing/"
        for page in (ACCOUNTS, CONNECT, KEY):
            assert urlsplit(client.get(page)["Location"]).path == "/login/"
        account = OntraportAccount.objects.get(label="Maya's")
        assert client.post(url("disconnect", account)).status_code == 302
        asked = client.get(ACCOUNTS, headers={"accept": "application/json"})
        assert (asked.status_code, asked.json()) == (401, {"error": "login_required"})
    assert OntraportAccount.objects.count() == 2
    assert "which is no auth.User with a primary key" in caplog.text


@pytest.mark.parametrize("name", ["NoneIsNobody", "NobodyIsSet"])
@pytest.mark.parametrize(
    ("page", "leads"),
    [
        ("/links/", {}),
        ("/button/", {}),
        ("/needing/", {"": "/login/"}),
        (ACCOUNTS, {"NoneIsNobody": "/login/", "NobodyIsSet": NOT_SET_UP}),
        (f"{CALLBACK}?code=c&state=s", {"NoneIsNobody": "/ontraport/problem/signed_out/", "NobodyIsSet": NOT_SET_UP}),
        (NOT_SET_UP, {}),
    ],
)  # fmt: skip
def test_pages_work_where_nobody_signs_anybody_in(
    name: str, page: str, leads: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """https://github.com/scoutapp/scout_apm_python/pull/139, https://github.com/django-statsd/django-statsd/pull/119"""
    with override_settings(MIDDLEWARE=middleware(name), INSTALLED_APPS=without_admin()):
        answer = Client().get(page)
    where = leads.get(name, leads.get("", ""))
    assert urlsplit(answer.get("Location", "")).path == where
    assert answer.status_code == (302 if where else 200)
    assert ("No middleware of this site sets request.user" in caplog.text) is (where == NOT_SET_UP)


def test_a_person_who_is_known_by_a_cookie_that_other_sites_do_not_send_links() -> None:
    """https://github.com/mozilla/mozilla-django-oidc/issues/497, for a cookie that is not the session's."""
    person("maya")
    with override_settings(MIDDLEWARE=middleware("OfCookie"), INSTALLED_APPS=without_admin()):
        client = Client()
        client.cookies["jwt"] = "maya"
        came = urlsplit(ontraport.consent(ontraport.press_connect(client)))
        del client.cookies["jwt"]
        held_back = client.get(f"{came.path}?{came.query}", headers={"sec-fetch-site": "cross-site"})
        assert held_back.status_code == 200
        assert "returned=1" in text(held_back)
        client.cookies["jwt"] = "maya"
        again = client.get(f"{came.path}?{came.query}&returned=1", headers={"sec-fetch-site": "same-origin"})
        assert again["Location"] == ACCOUNTS
        assert text(client.get("/links/")) == "Harbour Street Coffee"
        del client.cookies["jwt"]
        signed_out = client.get(f"{came.path}?{came.query}&returned=1", headers={"sec-fetch-site": "cross-site"})
        assert signed_out["Location"] == f"{ACCOUNTS}problem/signed_out/"


def raising(error: Exception) -> Callable[[Any], str]:
    def tell(self: Any) -> str:
        raise error

    return tell


NAMES: dict[str, Callable[[Any], Any]] = {
    "none": lambda self: None,
    "lazy": lambda self: SimpleLazyObject(lambda: "maya"),
    "long": lambda self: "m" * 5000,
    "fails": raising(AttributeError("profile")),
}


@pytest.mark.parametrize("name", NAMES)
def test_nobodys_link_fails_for_a_name(name: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://github.com/ellmetha/django-machina/pull/218, https://github.com/Corvia/django-tenant-users/issues/84"""
    maya = person("maya")
    for method in ("get_username", "get_full_name"):
        monkeypatch.setattr(get_user_model(), method, NAMES[name])
    account = linked_account(maya, sandbox)
    shown = {"none": str(maya.pk), "fails": str(maya.pk), "lazy": "maya", "long": "m" * 200}[name]
    assert OntraportEvent.objects.get(kind="linked").actor == shown
    tenant = "tests.support.pages.tenant_of_request"
    OntraportAccount.objects.update(tenant="acme")
    client = Client(headers={"x-tenant": "acme"})
    client.force_login(maya)
    with override_settings(ONTRAPORT_TENANT=tenant, ONTRAPORT_MAY=lambda request, tenant, action: True):
        assert f"<bdi>{shown}" in text(client.get(ACCOUNTS))
        listed = json.loads(client.get(ACCOUNTS, headers={"accept": "application/json"}).content)
        assert listed["accounts"][0]["linked_by"].startswith(shown)
        assert client.post(url("disconnect", account)).status_code == 302


@pytest.mark.parametrize("error", [OperationalError("The database is away."), SynchronousOnlyOperation("No.")])
def test_what_is_not_the_names_fault_is_no_lack_of_a_name(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    maya = person("maya")
    monkeypatch.setattr(get_user_model(), "get_username", raising(error))
    with pytest.raises(type(error)):
        name_of(maya)
