"""Settings that other sites have: numbers with separators, CSRF tokens in sessions, templates that show what is missing, no messages."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as site_settings
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.urls import include, path, reverse

from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.linked import person
from tests.support.pages import ACCOUNTS, CONNECT, text, url
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = [path("ontraport/", include("ontraport_connect.urls"))]
"""A site without the admin."""


@pytest.fixture(autouse=True)
def at_sandbox(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


def templates(**options: Any) -> list[dict[str, Any]]:
    backends: list[dict[str, Any]] = copy.deepcopy(site_settings.TEMPLATES)
    backends[0]["OPTIONS"].update(options)
    return backends


def without(setting: str, *words: str) -> list[str]:
    return [name for name in getattr(site_settings, setting) if not any(word in name for word in words)]


SITES: dict[str, dict[str, Any]] = {
    "CSRF tokens in the session": {"CSRF_USE_SESSIONS": True},
    "no translations": {"USE_I18N": False},
    "no slash is appended": {"APPEND_SLASH": False},
    "what is missing is shown": {"TEMPLATES": templates(string_if_invalid="!!%s!!")},
    "no context processors": {"TEMPLATES": templates(context_processors=[])},
    "no admin and no messages": {
        "INSTALLED_APPS": without("INSTALLED_APPS", "admin", "messages", "staticfiles", "organizations"),
        "MIDDLEWARE": without("MIDDLEWARE", "messages"),
        "TEMPLATES": templates(context_processors=["django.template.context_processors.request"]),
        "ROOT_URLCONF": __name__,
        "LOGIN_URL": "/sign-in/",
    },
}


@pytest.mark.plain_http  # Django looks at more than the token there
@pytest.mark.parametrize("site", SITES)
def test_a_link_is_made_shown_and_ended(site: str, sandbox: Sandbox) -> None:
    maya = person("maya")
    with override_settings(**SITES[site]):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(maya)
        page = text(browser.get(CONNECT))
        started = browser.post(CONNECT, ontraport.hidden_fields(page))
        done = ontraport.come_back(browser, ontraport.consent(started["Location"]))
        assert done["Location"] == ACCOUNTS
        account = OntraportAccount.objects.get()
        shown = text(browser.get(ACCOUNTS))
        assert "Harbour Street Coffee" in shown
        assert "!!" not in page + shown
        assert text(browser.get(f"{ACCOUNTS}problem/denied/"))
        browser.post(url("disconnect", account), ontraport.hidden_fields(shown))
    assert not OntraportAccount.objects.exists()
    assert not any(grant["alive"] for grant in sandbox.state()["grants"])


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
