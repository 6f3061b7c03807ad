"""The example's page without a framework: connect, rename and disconnect through the JSON, with a real browser and its CSRF cookie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import override_settings
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from ontraport_connect.models import OntraportAccount
from tests.browser import person
from tests.browser.conftest import PATIENCE, sign_in
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
PROBLEMS: list[str] = []


@pytest.fixture
def example(chromium: Browser, sandbox: Sandbox, maya: User) -> Iterator[Page]:
    """Maya's browser at the example site, which has its own Content-Security-Policy."""
    policy = {"default-src": ["'none'"], "script-src": ["'self'"], "style-src": ["'self'"], "connect-src": ["'self'"]}
    own = [name for name in settings.MIDDLEWARE if not name.startswith("tests.")]  # the other site's policy is stricter
    changes: dict[str, Any] = {
        "INSTALLED_APPS": ["example_project.backoffice", *settings.INSTALLED_APPS],
        "ROOT_URLCONF": "example_project.urls",
        "MIDDLEWARE": [*own, "example_project.backoffice.middleware.ContentSecurityPolicyMiddleware"],
        "CONTENT_SECURITY_POLICY": {**policy, "img-src": ["'self'"], "form-action": ["'self'"]},
        **sandbox.settings,
    }
    with override_settings(**changes):
        server = LiveServer("localhost")
        context = chromium.new_context(base_url=server.url)
        context.set_default_timeout(4 * PATIENCE)  # the first call of the MCP server imports its SDK
        sign_in(context, maya, server.url)
        page = context.new_page()
        PROBLEMS.clear()
        page.on("pageerror", lambda error: PROBLEMS.append(str(error)))
        yield page
        context.close()
        server.stop()


def test_a_link_is_made_renamed_and_ended_without_a_page_of_ours(example: Page) -> None:
    example.goto("/connections/")
    example.get_by_role("button", name="Connect an account").click()
    person.sign_in(example)
    person.allow(example)
    expect(example.get_by_text("Harbour Street Coffee", exact=True).last).to_be_visible()
    assert example.url.endswith("/connections/")
    example.get_by_label("Name of Harbour Street Coffee").fill("Shop")
    example.get_by_role("button", name="Rename").click()
    expect(example.get_by_role("button", name="Disconnect Shop")).to_be_visible()
    assert OntraportAccount.objects.get().label == "Shop"
    example.get_by_label("Name of Shop").fill("\u200b")
    example.get_by_role("button", name="Rename").click()
    expect(example.get_by_role("alert")).not_to_be_empty()
    other = example.context.new_page()
    other.goto("/connections/")
    example.get_by_role("button", name="Disconnect Shop").click()
    expect(example.get_by_role("button", name="Disconnect Shop")).to_have_count(0)
    other.get_by_role("button", name="Rename").click()
    expect(other.get_by_role("alert")).to_have_text("This connection isn't there any more. Reload this page.")
    assert not OntraportAccount.objects.exists()
    assert PROBLEMS == []
