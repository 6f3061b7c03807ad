"""The button on pages that are no plain answer to a GET: posted pages, error pages, pages without a request, other hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as site_settings
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.loader import render_to_string
from django.test import Client, override_settings
from django.urls import NoReverseMatch, include, path

from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.linked import key_account, person
from tests.support.pages import ACCOUNTS, CONNECT, text
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

PAGE = "{% load ontraport_connect %}<!doctype html><title>Shop</title>{% connect_ontraport %}"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                ("django.template.loaders.locmem.Loader", {"500.html": PAGE, "404.html": PAGE, "shop.html": PAGE}),
                "django.template.loaders.app_directories.Loader",
            ],
            "context_processors": ["django.template.context_processors.request"],
        },
    },
]


def shown(request: HttpRequest) -> HttpResponse:
    return HttpResponse(engines["django"].from_string(PAGE).render({}, request))


def broken(request: HttpRequest) -> HttpResponse:
    raise LookupError("the adopter's own mistake")


def broken_transaction(request: HttpRequest) -> HttpResponse:
    """A page that is rendered after an error within a transaction, where the database answers nothing any more."""
    with transaction.atomic():
        request.user.is_authenticated  # noqa: B018  # loads the user
        connection.needs_rollback = True
        return shown(request)


def mail(request: HttpRequest) -> HttpResponse:
    return HttpResponse(render_to_string("shop.html"))


urlpatterns = [
    path("ontraport/", include("ontraport_connect.urls")),
    path("shown/", shown),
    path("broken/", broken),
    path("broken-transaction/", broken_transaction),
    path("mail/", mail),
]


class Brochure:
    """The URLconf of another host, on which this app has no pages."""

    urlpatterns = [path("shown/", shown)]


class ByHost:
    """A middleware such as django-hosts'."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        if request.get_host() == "www.shop.example":
            request.urlconf = Brochure
        return self.get_response(request)


@pytest.fixture(autouse=True)
def at_sandbox(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url), TEMPLATES=TEMPLATES):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    user = person("maya")
    client.force_login(user)
    return user


def press(client: Client, page: str) -> Any:
    """Press the button on the page as a browser does, and go to Ontraport and back."""
    form = re.search(r'<form method="post" action="([^"]*)">', page)
    assert form
    assert form[1] == CONNECT
    return ontraport.come_back(
        client, ontraport.consent(ontraport.press_connect(client, **ontraport.hidden_fields(page)))
    )


def test_from_a_page_that_was_posted_people_come_back_to_one_that_can_be_got(client: Client, maya: Any) -> None:
    assert press(client, text(client.post("/shown/?a=1")))["Location"] == ACCOUNTS
    OntraportAccount.objects.all().delete()
    assert press(client, text(client.get("/shown/?a=1")))["Location"] == "/shown/?a=1"


def plain_link(page: str) -> str:
    """Return where the button leads that is a link and no form."""
    link = re.search(
        r'<a class="ontraport-action ontraport-primary" href="([^"]*)">(?:<span[^>]*></span>)?Connect Ontraport</a>',
        page,
    )
    assert link, page
    assert "<form" not in page
    return link[1]


def test_an_error_page_with_the_button_is_shown(client: Client, maya: Any) -> None:
    """Django renders 500.html without a request and without a context."""
    client.raise_request_exception = False
    response = client.get("/broken/")
    assert response.status_code == 500
    assert client.get(plain_link(text(response))).status_code == 200
    missing = client.get("/no-such-page/")
    assert missing.status_code == 404
    assert 'action="/ontraport/connect/"' in text(missing)


def test_a_page_without_a_request_has_a_link(client: Client, maya: Any) -> None:
    key_account(maya)
    assert plain_link(text(client.get("/mail/"))) == CONNECT


def test_a_page_whose_transaction_is_broken_has_a_link(client: Client, maya: Any) -> None:
    assert plain_link(text(client.get("/broken-transaction/"))) == CONNECT


class Maintenance:
    """A middleware that answers before all others, with the site's usual header: django-maintenance-mode's, a lockout, a refused host."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = shown(request)
        response.status_code = 503
        return response


def test_a_page_of_a_middleware_that_answers_before_ours_has_a_link(client: Client, maya: Any) -> None:
    with override_settings(MIDDLEWARE=[f"{__name__}.Maintenance", *site_settings.MIDDLEWARE]):
        response = client.get("/anything/")
    assert (response.status_code, plain_link(text(response))) == (503, CONNECT)


@pytest.fixture
def hosts() -> Iterator[None]:
    with override_settings(MIDDLEWARE=[f"{__name__}.ByHost", *site_settings.MIDDLEWARE]):
        yield


def test_on_a_host_without_these_pages_it_leads_to_the_host_that_has_them(
    client: Client, maya: Any, hosts: None
) -> None:
    www = {"host": "www.shop.example"}
    with override_settings(ONTRAPORT_REDIRECT_URI="https://app.shop.example/ontraport/callback/"):
        assert plain_link(text(client.get("/shown/", headers=www))) == "https://app.shop.example/ontraport/connect/"
        assert 'action="/ontraport/connect/"' in text(client.get("/shown/", headers={"host": "app.shop.example"}))
    with override_settings(ONTRAPORT_REDIRECT_URI=None), pytest.raises(NoReverseMatch):
        client.get("/shown/", headers=www)
