"""Where linking starts and where it comes back to: insecure requests, other hosts of the same site, language prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings as site_settings
from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.test import Client, override_settings
from django.urls import include, path

from ontraport_connect.models import OntraportAccount, Status
from tests.support import ontraport
from tests.support.linked import person
from tests.support.pages import CONNECT, linked, text, url
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("at_sandbox")]

urlpatterns = [
    *i18n_patterns(path("ontraport/", include("ontraport_connect.urls")), path("admin/", admin.site.urls)),
]
without_prefix = ModuleType(f"{__name__}_without_prefix")
"""The sandbox knows the callback by its path without a prefix."""
without_prefix.urlpatterns = [  # type: ignore[attr-defined]
    *i18n_patterns(path("ontraport/", include("ontraport_connect.urls")), prefix_default_language=False),
]
IN_LANGUAGES = {
    "ROOT_URLCONF": __name__,
    "MIDDLEWARE": [
        name
        for each in site_settings.MIDDLEWARE
        for name in (
            [each, "django.middleware.locale.LocaleMiddleware"]
            if each == "django.contrib.sessions.middleware.SessionMiddleware"
            else [each]
        )
    ],
}


@pytest.fixture
def at_sandbox(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**{**ontraport.settings_for(sandbox.url), "ONTRAPORT_REDIRECT_URI": None}):
        yield


@pytest.fixture
def maya(client: Client) -> Any:
    user = person("maya")
    client.force_login(user)
    return user


def asked(response: Any) -> dict[str, str]:
    """Return the parameters of the authorization request that the browser is sent off with."""
    assert "/oauth/authorize" in response["Location"]
    return {name: values[0] for name, values in parse_qs(urlsplit(response["Location"]).query).items()}


@pytest.mark.plain_http
def test_nobody_is_sent_off_with_an_insecure_address(
    client: Client, maya: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a proxy that ends TLS, without SECURE_PROXY_SSL_HEADER."""
    response = client.post(CONNECT, headers={"host": "shop.example.com"})
    assert response["Location"] == "/ontraport/problem/misconfigured/"
    for words in ("http://shop.example.com/ontraport/callback/", "ONTRAPORT_REDIRECT_URI", "SECURE_PROXY_SSL_HEADER"):
        assert words in caplog.text
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        response = client.post(CONNECT, headers={"host": "shop.example.com", "x-forwarded-proto": "https"})
        assert asked(response)["redirect_uri"] == "https://shop.example.com/ontraport/callback/"
    response = client.post(CONNECT, headers={"host": "127.0.0.1:8000"})
    assert asked(response)["redirect_uri"] == "http://127.0.0.1:8000/ontraport/callback/"


@pytest.mark.parametrize(
    "uri",
    [
        "https://shop.example/ontraport/calback/",
        "https://shop.example/ontraport/callback",
        "https://shop.example/",
        "https://shop.example/ontraport/callback/?a=1",
        "https://shop.example/ontraport/callback/#a",
        "https://me:canary@shop.example/ontraport/callback/",
        " https://shop.example/ontraport/callback/ ",
        "http://shop.example/ontraport/callback/",
        "https://shop.example/ontraport/",
        "https://*.shop.example/ontraport/callback/",
    ],
)
def test_nobody_is_sent_off_when_nobody_could_come_back(
    client: Client, maya: Any, caplog: pytest.LogCaptureFixture, uri: str
) -> None:
    """https://github.com/KRoperUK/sungrow-hass/pull/342: the first customer found the typo, after the consent."""
    with override_settings(ONTRAPORT_REDIRECT_URI=uri):
        responses = [client.post(CONNECT, headers={"host": host}) for host in ("shop.example", "www.shop.example")]
    assert [response["Location"] for response in responses] == ["/ontraport/problem/misconfigured/"] * 2
    assert "ONTRAPORT_REDIRECT_URI" in caplog.text
    assert "canary" not in caplog.text


@override_settings(ONTRAPORT_REDIRECT_URI="https://app.shop.example/of/its/own/callback/")
def test_a_callback_that_another_urlconf_knows_is_believed(client: Client, maya: Any) -> None:
    with override_settings(SILENCED_SYSTEM_CHECKS=["ontraport_connect.E010"]):
        assert "/oauth/authorize" in client.post(CONNECT, headers={"host": "app.shop.example"})["Location"]
    with override_settings(MIDDLEWARE=[f"{__name__}.OwnUrls", *site_settings.MIDDLEWARE]):
        again = Client()
        again.force_login(maya)
        assert "/oauth/authorize" in again.post(CONNECT, headers={"host": "app.shop.example"})["Location"]


class OwnUrls:
    """A middleware such as django-hosts'."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.urlconf = "tests.urls"
        return self.get_response(request)


@pytest.mark.parametrize(
    ("callback", "host"),
    [
        ("https://app.shop.example/ontraport/callback/", "shop.example"),
        ("https://shop.example/ontraport/callback/", "www.shop.example"),
        ("https://www.shop.example/ontraport/callback/", "app.shop.example:8000"),
        ("http://127.0.0.1:8000/ontraport/callback/", "localhost:8000"),
        ("http://app.localhost:8000/ontraport/callback/", "localhost:8000"),
    ],
)
def test_a_start_on_another_host_is_moved_to_the_host_that_ontraport_leads_back_to(
    client: Client, maya: Any, callback: str, host: str
) -> None:
    """The session cookie stays behind there: after the consent the person would be told that they are signed out."""
    account = linked(maya, status=Status.NEEDS_RECONNECT)
    connect = callback.replace("callback/", "connect/")
    with override_settings(ONTRAPORT_REDIRECT_URI=callback):
        response = client.post(CONNECT, {"next": "/orders/?page=2"}, headers={"host": host})
        assert response["Location"] == f"{connect}?next=%2Forders%2F%3Fpage%3D2"
        assert client.post(CONNECT, headers={"host": host})["Location"] == connect
        again = client.post(url("reconnect", account), headers={"host": host})
        assert again["Location"] == f"{connect}?account={account.uid}"
        there = urlsplit(callback).netloc
        for headers in ({"host": there}, {"host": host, "origin": callback.partition("/ontraport")[0]}):
            assert asked(client.post(CONNECT, headers=headers))["redirect_uri"] == callback
    assert OntraportAccount.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        ({"SESSION_COOKIE_DOMAIN": ".shop.example"}, "shop.example"),
        ({"SESSION_COOKIE_DOMAIN": "shop.example"}, "north.shop.example"),
        ({}, "evil.example"),
        ({}, "evil.com"),
        ({}, "app.shop.example:8443"),
        ({}, "APP.shop.example."),
    ],
)
def test_a_start_where_the_session_comes_along_or_on_a_foreign_host_is_no_concern(
    client: Client, maya: Any, changes: dict[str, str], host: str
) -> None:
    callback = "https://app.shop.example/ontraport/callback/"
    with override_settings(ONTRAPORT_REDIRECT_URI=callback, **changes):
        assert asked(client.post(CONNECT, headers={"host": host}))["redirect_uri"] == callback


def test_a_site_that_puts_www_in_front_of_its_host_does_not_lead_in_circles(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    """Django leads everybody to the host with www, from the callback, too."""
    callback = "https://shop.example/ontraport/callback/"
    with override_settings(ONTRAPORT_REDIRECT_URI=callback, PREPEND_WWW=True):
        for start in ("www.shop.example", "app.shop.example"):
            response = client.post(CONNECT, headers={"host": start})
            hosts = [urlsplit(response["Location"]).netloc]
            while hosts[-1] != urlsplit(sandbox.url).netloc:
                assert len(hosts) < 5, hosts
                response = client.post(CONNECT, headers={"host": hosts[-1]})
                hosts.append(urlsplit(response["Location"]).netloc)
            assert asked(response)["redirect_uri"] == callback


def test_an_origin_that_is_none_is_no_server_error(client: Client, maya: Any) -> None:
    with override_settings(ONTRAPORT_REDIRECT_URI="https://app.shop.example/ontraport/callback/"):
        for origin in ("null", "http://[", ""):
            response = client.post(CONNECT, headers={"host": "shop.example", "origin": origin})
            assert response["Location"] == "https://app.shop.example/ontraport/connect/"


@pytest.mark.plain_http
@pytest.mark.parametrize("redirect_uri", [None, "http://127.0.0.1:8000/en/ontraport/callback/"])
@override_settings(**IN_LANGUAGES, ONTRAPORT_CLIENT_ID=None, ONTRAPORT_CLIENT_SECRET=None)
def test_a_site_in_several_languages_is_one_client_with_one_redirect_uri(
    client: Client, maya: Any, redirect_uri: str | None
) -> None:
    with override_settings(ONTRAPORT_REDIRECT_URI=redirect_uri):
        questions = [
            asked(client.post(f"/{language}/ontraport/connect/", headers={"host": "127.0.0.1:8000"}))
            for language in ("en", "de", "fr")
        ]
        documents = [
            client.get(f"/{language}/ontraport/client.json", headers={"host": "127.0.0.1:8000"}).json()
            for language in ("en", "de")
        ]
    assert {(each["client_id"], each["redirect_uri"]) for each in questions} == {
        ("http://127.0.0.1:8000/en/ontraport/client.json", "http://127.0.0.1:8000/en/ontraport/callback/")
    }
    assert documents[0] == documents[1]
    assert documents[0]["client_id"] == questions[0]["client_id"]


@pytest.mark.plain_http
@override_settings(**{**IN_LANGUAGES, "ROOT_URLCONF": without_prefix})
def test_a_person_comes_back_in_the_language_that_they_read(client: Client, maya: Any, sandbox: Sandbox) -> None:
    headers = {"host": "127.0.0.1:8000", "accept-language": "de"}
    callback = urlsplit(ontraport.consent(client.post("/de/ontraport/connect/", headers=headers)["Location"]))
    assert callback.path == "/ontraport/callback/"
    response = client.get(f"{callback.path}?{callback.query}", headers=headers)
    assert response["Location"] == "/de/ontraport/"
    assert "Harbour Street Coffee ist verbunden." in text(client.get(response["Location"], headers=headers))
    denied = {"error": "access_denied", "state": asked(client.post("/de/ontraport/connect/", headers=headers))["state"]}
    response = client.get("/ontraport/callback/", {**denied, "iss": sandbox.url}, headers=headers)
    assert response["Location"] == "/de/ontraport/problem/denied/"


@pytest.mark.plain_http
def test_the_client_document_of_a_site_without_a_redirect_uri_is_kept_by_nobody_else(client: Client) -> None:
    """It depends on the request's host, which a shared cache may not know of."""
    with override_settings(USE_X_FORWARDED_HOST=True, ONTRAPORT_CLIENT_ID=None):
        response = client.get("/ontraport/client.json", headers={"x-forwarded-host": "evil.example"})
    assert response.json()["client_uri"] == "http://evil.example/"
    assert "public" not in response["Cache-Control"]
    assert "no-store" in response["Cache-Control"]
    assert {"X-Forwarded-Host", "Host"} <= {name.strip() for name in response["Vary"].split(",")}


def test_the_client_document_of_a_site_with_a_redirect_uri_is_the_same_for_every_host(client: Client) -> None:
    with override_settings(USE_X_FORWARDED_HOST=True, ONTRAPORT_REDIRECT_URI="https://shop.example/app/o/callback/"):
        forged = client.get("/ontraport/client.json", headers={"x-forwarded-host": "evil.example", "host": "evil.com"})
    assert "evil" not in text(forged)
    assert forged.json()["client_id"] == "https://shop.example/app/o/client.json"
    assert forged["Cache-Control"] == "public, max-age=300"
