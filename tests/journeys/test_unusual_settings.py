"""Settings that other sites have: numbers with separators, CSRF tokens in sessions, static files by their content, a proxy, no messages."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.apps import apps
from django.conf import settings as site_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import run_checks
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import include, path, reverse, reverse_lazy
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount, Status
from tests.support import ontraport
from tests.support.connect_proxy import connect_proxy
from tests.support.databases import sqlite
from tests.support.hostile_server import answer, certificate, hostile_server
from tests.support.linked import key_account, person
from tests.support.pages import ACCOUNTS, CONNECT, text, url
from tests.support.servers import HOST, PROJECT, Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def refuse(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The site's own ``CSRF_FAILURE_VIEW``."""
    return HttpResponse("Our own words.", status=403)


urlpatterns = [
    path("ontraport/", include("ontraport_connect.urls")),
    path("<slug:shop>/sign-in/", refuse, name="sign-in"),
]
"""A site without the admin."""


@pytest.fixture(autouse=True)
def at_sandbox(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


def templates(**options: Any) -> list[dict[str, Any]]:
    backends: list[dict[str, Any]] = copy.deepcopy(site_settings.TEMPLATES)
    backends[0]["OPTIONS"].update(options)
    return backends


def loaders(*names: str) -> list[dict[str, Any]]:
    """Return ``TEMPLATES`` without ``APP_DIRS``, with a cache of its own in front of these loaders."""
    backends = templates(
        loaders=[
            ("django.template.loaders.cached.Loader", [f"django.template.loaders.{name}.Loader" for name in names])
        ]
    )
    backends[0]["APP_DIRS"] = False
    return backends


class OwnBackend(BaseBackend):
    """Signs people in, and knows no permissions."""

    def get_user(self, user_id: Any) -> Any:
        return get_user_model().objects.filter(pk=user_id).first()


class PersonOfHeader:
    """Takes the person from what a proxy says, in place of sessions."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        user = get_user_model().objects.filter(username=request.headers.get("X-Person")).first()
        request.user = AnonymousUser() if user is None else user
        return self.get_response(request)


def without(setting: str, *words: str) -> list[str]:
    return [name for name in getattr(site_settings, setting) if not any(word in name for word in words)]


SITES: dict[str, dict[str, Any]] = {
    "CSRF tokens in the session": {"CSRF_USE_SESSIONS": True},
    "no translations": {"USE_I18N": False},
    "no slash is appended": {"APPEND_SLASH": False},
    "what is missing is shown": {"TEMPLATES": templates(string_if_invalid="!!%s!!")},
    "static files on another host": {"STATIC_URL": "https://cdn.example/shop/"},
    "cookies of this host only": {"SESSION_COOKIE_NAME": "__Host-sessionid", "CSRF_COOKIE_NAME": "__Host-csrftoken"},
    "our middleware twice": {
        "MIDDLEWARE": [*site_settings.MIDDLEWARE, "ontraport_connect.middleware.OntraportMiddleware"]
    },
    "a cache, gzip and ETags in front": {
        "MIDDLEWARE": [
            "django.middleware.cache.UpdateCacheMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            *site_settings.MIDDLEWARE,
            "django.middleware.cache.FetchFromCacheMiddleware",
        ]
    },
    "Jinja2 before Django's templates": {
        "TEMPLATES": [{"BACKEND": "django.template.backends.jinja2.Jinja2", "APP_DIRS": True}, *templates()]
    },
    "templates of a cached loader": {"TEMPLATES": loaders("filesystem", "app_directories")},
    "sessions in cookies": {"SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"},
    "no referrer, no opener policy": {
        "SECURE_REFERRER_POLICY": "no-referrer",
        "SECURE_CROSS_ORIGIN_OPENER_POLICY": None,
    },
    "few fields in a form": {"DATA_UPLOAD_MAX_NUMBER_FIELDS": 5},
    "one language, and not English": {"LANGUAGES": [("de", "Deutsch")], "LANGUAGE_CODE": "de"},
    "one language without translations": {"LANGUAGES": [("pt-br", "Português")], "LANGUAGE_CODE": "pt-br"},
    "backends without permissions": {"AUTHENTICATION_BACKENDS": [f"{__name__}.OwnBackend"]},
    "small keys": {"DEFAULT_AUTO_FIELD": "django.db.models.AutoField"},
    "no context processors": {"TEMPLATES": templates(context_processors=[])},
    "no admin and no messages": {
        "INSTALLED_APPS": without("INSTALLED_APPS", "admin", "messages", "staticfiles", "organizations"),
        "MIDDLEWARE": without("MIDDLEWARE", "messages"),
        "TEMPLATES": templates(context_processors=["django.template.context_processors.request"]),
        "ROOT_URLCONF": __name__,
        "LOGIN_URL": "/sign-in/",
    },
    "no sessions": {
        "INSTALLED_APPS": without("INSTALLED_APPS", "admin", "messages", "sessions", "staticfiles", "organizations"),
        "MIDDLEWARE": [
            f"{__name__}.PersonOfHeader" if "AuthenticationMiddleware" in name else name
            for name in without("MIDDLEWARE", "messages", "sessions")
        ],
        "TEMPLATES": templates(context_processors=[]),
        "ROOT_URLCONF": __name__,
        "LOGIN_URL": "/sign-in/",
    },
}


@pytest.mark.parametrize("site", SITES)
def test_a_link_is_made_shown_and_ended(site: str, sandbox: Sandbox) -> None:
    maya = person("maya")
    with override_settings(**SITES[site]):
        scheme = "https" if site_settings.SECURE_SSL_REDIRECT else "http"
        headers = {"host": "testserver", "origin": f"{scheme}://testserver", "x-person": "maya"}
        browser = Client(enforce_csrf_checks=True, headers=headers)
        if apps.is_installed("django.contrib.sessions"):
            browser.force_login(maya)
        page = text(browser.get(CONNECT))
        started = browser.post(CONNECT, ontraport.hidden_fields(page))
        done = ontraport.come_back(browser, ontraport.consent(started["Location"]))
        assert done["Location"] == ACCOUNTS
        account = OntraportAccount.objects.get()
        shown = text(browser.get(ACCOUNTS))
        assert "Harbour Street Coffee" in shown
        assert "!!" not in page + shown
        denied = browser.get(f"{ACCOUNTS}callback/?error=access_denied&state=x")
        assert text(browser.get(denied["Location"]))
        assert text(browser.get(f"{ACCOUNTS}problem/denied/"))
        assert [found for found in run_checks() if str(found.id).startswith("ontraport_connect.E")] == []
        call_command("makemigrations", "ontraport_connect", check=True, dry_run=True, verbosity=0)
        browser.post(url("disconnect", account), ontraport.hidden_fields(shown))
    assert not OntraportAccount.objects.exists()
    assert not any(grant["alive"] for grant in sandbox.state()["grants"])


@override_settings(ROOT_URLCONF=__name__, LOGIN_URL=reverse_lazy("sign-in", args=["harbour"]))
def test_the_address_to_sign_in_may_be_a_name_with_arguments() -> None:
    asked = Client().get(CONNECT)
    assert asked["Location"] == "/harbour/sign-in/?next=/ontraport/connect/"
    assert 'href="/harbour/sign-in/?next=/ontraport/connect/"' in text(Client().get(f"{ACCOUNTS}problem/signed_out/"))


@override_settings(CSRF_FAILURE_VIEW=f"{__name__}.refuse")
def test_a_form_without_a_token_is_refused_in_the_words_of_the_site() -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(person("maya"))
    refused = browser.post(CONNECT)
    assert (refused.status_code, text(refused)) == (403, "Our own words.")


@override_settings(USE_X_FORWARDED_HOST=True, ONTRAPORT_REDIRECT_URI=None)
def test_the_host_that_a_proxy_names_is_that_of_the_callback() -> None:
    browser = Client(headers={"host": "10.0.0.7", "x-forwarded-host": "shop.example"})
    browser.force_login(person("maya"))
    location = browser.post(CONNECT, secure=True)["Location"]
    assert parse_qs(urlsplit(location).query)["redirect_uri"] == ["https://shop.example/ontraport/callback/"]


def test_a_site_that_makes_tables_without_migrations(tmp_path: Path) -> None:
    changes = {"MIGRATION_MODULES": {"ontraport_connect": None}, "DATABASES": {"default": sqlite(tmp_path / "db")}}
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_SETTINGS": json.dumps(changes)}
    printed = [
        subprocess.run(
            [sys.executable, "-m", "django", *command],
            env=environ,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in (["migrate", "--run-syncdb", "--verbosity=0"], ["ontraport", "accounts", "--json"])
    ]
    assert json.loads(printed[-1]) == []


NUMBER = re.compile(r"(1\D{1,6}234\D{1,6}567|7\D{1,6}654\D{1,6}321)\b")
"""The keys of ``test_keys_have_no_separators`` as people write them, in whichever language."""


@pytest.mark.parametrize("language", ["de", "fr", "en"])
def test_keys_have_no_separators(language: str) -> None:
    """https://github.com/django-cms/django-cms/issues/2055: a form with such a key in it found nothing."""
    maya = get_user_model().objects.create_superuser("maya", pk=1234567)
    account = OntraportAccount.objects.create(pk=7654321, user=maya, label="Shop", refresh_token="r")
    browser = Client()
    browser.force_login(maya)
    listed = reverse("admin:ontraport_connect_ontraportaccount_changelist")
    change = reverse("admin:ontraport_connect_ontraportaccount_change", args=[account.pk])
    middleware = [*site_settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    with override_settings(LANGUAGE_CODE=language, USE_THOUSAND_SEPARATOR=True, MIDDLEWARE=middleware):
        ask = {"action": "disconnect", "_selected_action": "7654321"}
        pages = [browser.get(address) for address in (ACCOUNTS, CONNECT, listed, change)]
        pages.append(browser.post(listed, ask))
        for page in pages:
            assert page.status_code == 200
            assert not NUMBER.search(text(page))
        assert 'value="7654321"' in text(pages[2])
        assert ontraport.hidden_fields(text(pages[-1]))["_selected_action"] == "7654321"
        browser.post(listed, ontraport.hidden_fields(text(pages[-1])))
    assert not OntraportAccount.objects.exists()


def test_pages_name_static_files_that_were_collected(tmp_path: Path) -> None:
    """https://github.com/boxine/django-huey-monitor/issues/55: a page that names a file which is in no manifest is a server error."""
    maya = get_user_model().objects.create_superuser("maya")
    account = OntraportAccount.objects.create(user=maya, refresh_token="r", status=Status.NEEDS_RECONNECT)
    storage = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    browser = Client()
    browser.force_login(maya)
    views = ("changelist", "glance")
    with override_settings(STATIC_ROOT=str(tmp_path), STORAGES={**site_settings.STORAGES, "staticfiles": storage}):
        call_command("collectstatic", interactive=False, verbosity=0)
        pages = [ACCOUNTS, CONNECT, f"{CONNECT}key/", f"{ACCOUNTS}problem/denied/"]
        pages += [reverse(f"admin:ontraport_connect_ontraportaccount_{view}") for view in views]
        pages += [reverse("admin:ontraport_connect_ontraportaccount_change", args=[account.pk])]
        named = [re.findall(r'"/static/(ontraport_connect/[^"]+)"', text(browser.get(page))) for page in pages]
        assert all(named)
        for name in {name for each in named for name in each}:
            assert re.search(r"\.[0-9a-f]{12}\.", name)
            assert staticfiles_storage.exists(name)


def test_every_call_leaves_through_the_proxy_of_the_settings(sandbox: Sandbox, tmp_path: Path) -> None:
    """https://github.com/mozilla/mozilla-django-oidc/pull/344: a site that may go out in no other way."""
    maya, later = person("maya"), timezone.now() + timedelta(hours=1)
    account = OntraportAccount.objects.create(user=maya, access_token="a", refresh_token="r", expires_at=later)
    keys = key_account(maya)
    context = certificate(tmp_path)
    with ExitStack() as stack:
        proxy = stack.enter_context(connect_proxy())
        token, rest, mcp = (
            stack.enter_context(hostile_server(answer("{}", headers="Connection: close\r\n"), context=context))
            for _ in range(3)
        )
        settings = {
            "ONTRAPORT_ENDPOINTS": {**sandbox.endpoints, "token_endpoint": f"{token.url}/token"},
            "ONTRAPORT_REST_URL": f"{rest.url}/1/",
            "ONTRAPORT_MCP_URL": mcp.url,
            "ONTRAPORT_CA_BUNDLE": str(tmp_path / f"{HOST}.pem"),
            "ONTRAPORT_PROXY": proxy.url,
        }
        stack.enter_context(override_settings(**settings))
        for call in (
            lambda: keys.rest("GET", "objects", params={"objectID": 0}),
            lambda: account.mcp("count_objects", objectID="0"),
            lambda: refreshing.refresh(account),
        ):
            with pytest.raises(OntraportUnavailable):
                call()
        asked = [head.split()[1] for head in proxy.asked]
        assert asked == [f"{HOST}:{server.port}" for server in (rest, mcp, token)]
        assert [len(server.requests) for server in (token, rest, mcp)] == [1, 1, 1]
