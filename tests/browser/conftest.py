"""A real Chromium, a real server of this site, and the sandbox in Ontraport's place.

With SHOTS_DIR in the environment, each page and state leaves its screenshots there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import Client, override_settings
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.browser.look import Look
from tests.conftest import unavailable
from tests.support.servers import Sandbox

PATIENCE = 15_000
"""Milliseconds that a page may take on a busy machine."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        unavailable("there is no Chromium on this machine")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with pytest.MonkeyPatch.context() as environ, sync_playwright() as playwright:
        # Playwright's event loop sleeps in this thread, where the tests read the database.
        environ.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def sandbox_process() -> Iterator[Sandbox]:
    """A sandbox of the browser tests' own, so that their grants do not appear in the counts of other tests."""
    sandbox = Sandbox()
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="package")
def site(django_db_setup: None, sandbox_process: Sandbox) -> Iterator[str]:
    """The origin of the site: another site than the sandbox's, for a browser, since the names of the hosts differ."""
    changes: dict[str, Any] = {
        "ROOT_URLCONF": "tests.browser.site",
        "MIDDLEWARE": ["tests.browser.site.StrictPolicy", *django_settings.MIDDLEWARE],
        **sandbox_process.settings,
    }
    with override_settings(**changes):
        server = LiveServer("localhost")
        yield server.url
        server.stop()


@pytest.fixture
def open_page(chromium: Browser, site: str, sandbox: Sandbox, transactional_db: None) -> Iterator[Callable[..., Page]]:
    """Open a new browser at the site: ``open_page(user)``. Fails at the end when a page has reported a problem."""
    contexts: list[BrowserContext] = []
    look = Look()

    def open_page(user: User | None = None, **options: Any) -> Page:
        context = chromium.new_context(base_url=site, **{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        if user is not None:
            sign_in(context, user, site)
        page = context.new_page()
        look.watch(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert look.complaints == []


def sign_in(context: BrowserContext, user: User, site: str) -> None:
    client = Client()
    client.force_login(user)
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": site, "sameSite": "Lax"}])


@pytest.fixture
def maya(transactional_db: None) -> User:
    return get_user_model().objects.create_user("maya", password="demo")


@pytest.fixture
def shots() -> Path | None:
    folder = os.environ.get("SHOTS_DIR")
    return Path(folder) if folder else None
