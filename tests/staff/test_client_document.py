"""``ontraport check`` of a site without a client id: what Ontraport gets when it fetches the client metadata document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import include, path
from django.views.generic import RedirectView

from ontraport_connect.staff import diagnosis
from tests.support import ontraport
from tests.support.servers import HOST, Sandbox, free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.plain_http, pytest.mark.urls(__name__)]


def maintenance(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<!doctype html>Back soon.", status=int(request.path.strip("/").split("/")[1]))


def another(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"client_id": "https://shop.example/client.json"})


def no_document(request: HttpRequest) -> JsonResponse:
    return JsonResponse([], safe=False)


urlpatterns = [
    path("ontraport/", include("ontraport_connect.urls")),
    path("page/200/client.json", maintenance),
    path("page/503/client.json", maintenance),
    path("another/client.json", another),
    path("list/client.json", no_document),
    path("moved/client.json", RedirectView.as_view(url="/ontraport/client.json", permanent=True)),
]


@pytest.fixture
def site(sandbox: Sandbox, live_server: Any) -> Iterator[str]:
    """A site that Ontraport knows by its document."""
    given = {**ontraport.settings_for(sandbox.url), "ONTRAPORT_CLIENT_ID": None, "ONTRAPORT_CLIENT_SECRET": None}
    with override_settings(**given):
        yield live_server.url


def found(callback: str) -> list[tuple[str, str]]:
    """Return what is said about the document of a site with this callback."""
    with override_settings(ONTRAPORT_REDIRECT_URI=callback):
        findings = [(str(each.level), each.text) for each in diagnosis.check_endpoints()]
    return [(level, text) for level, text in findings if text.startswith("client document: ")]


def test_a_document_that_everybody_gets_is_well(site: str) -> None:
    assert found(f"{site}/ontraport/callback/") == [("ok", f"client document: {site}/ontraport/client.json answers")]


def test_a_redirect_in_front_of_it_is_said(site: str) -> None:
    """https://github.com/django-oauth/django-oauth-toolkit/issues/1363: a client that follows no redirect finds nothing."""
    ((level, said),) = found(f"{site}/moved/callback/")
    assert (level, "answers with a redirect (301), so nobody can connect" in said) == ("error", True)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("page/200", "is no JSON"),
        ("page/503", "answers with status 503"),
        ("list", "is not this site's document"),
        ("another", "is not this site's document"),
    ],
)
def test_what_is_no_document_of_this_site_is_said(site: str, place: str, words: str) -> None:
    ((level, said),) = found(f"{site}/{place}/callback/")
    assert (level, words in said) == ("error", True)


def test_a_machine_that_cannot_reach_its_own_site_is_told_so() -> None:
    ((level, said),) = found(f"http://{HOST}:{free_port()}/ontraport/callback/")
    assert (level, said.startswith("client document: ")) == ("warning", True)


def test_nothing_is_fetched_where_nobody_asks_for_it(site: str) -> None:
    assert urlsplit(site).hostname
    with override_settings(ONTRAPORT_CLIENT_ID="id"):
        assert found(f"{site}/ontraport/callback/") == []
    assert found("") == []
