"""Every page in every state: axe, width, colours, screenshots."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone
from playwright.sync_api import Page, expect

from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from tests.browser import person
from tests.browser.look import inspect

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def links(maya: User) -> list[OntraportAccount]:
    """Create one link in each state, with its history."""
    long_ago = timezone.now() - timedelta(days=92, hours=3)
    common = {"user": maya, "linked_at": long_ago}
    well = OntraportAccount.objects.create(
        **common, label="Harbour Street Coffee", ontraport_id="187157", is_default=True, refreshed_at=timezone.now()
    )
    waiting = OntraportAccount.objects.create(
        **common,
        label="Northlight Agency",
        ontraport_id="204211",
        failures=3,
        last_error="timeout",
        refreshed_at=long_ago,
    )
    ended = OntraportAccount.objects.create(
        **common, ontraport_id="33871", status=Status.NEEDS_RECONNECT, last_error="invalid_grant"
    )
    key = OntraportAccount.objects.create(**common, label="Wholesale", ontraport_id="98800", method=Method.API_KEY)
    refused = OntraportAccount.objects.create(
        **common,
        label="The one with the very long name that somebody gave it, without-a-space-in-the-middle-of-this-part-of-it",
        ontraport_id="71",
        method=Method.API_KEY,
        status=Status.NEEDS_RECONNECT,
        last_error="key_refused",
    )
    for account in (well, waiting, ended, key, refused):
        OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.record(waiting, EventKind.REFRESH_FAILING, "timeout")
    OntraportEvent.record(ended, EventKind.NEEDS_RECONNECT, "invalid_grant")
    return [well, waiting, ended, key, refused]


def test_the_accounts_page(open_page: OpenPage, maya: User, links: list[OntraportAccount], shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/ontraport/")
    inspect(page, "accounts", shots)
    for card, name in zip(page.get_by_role("region").all(), ("Disconnect", "History", "Rename"), strict=False):
        card.get_by_text(name, exact=False).first.click()
    inspect(page, "accounts-open", shots)
    page.emulate_media(media="print")
    expect(page.get_by_role("link", name="Connect another account")).to_be_hidden()
    expect(page.get_by_role("heading", name="Wholesale")).to_be_visible()


def test_the_accounts_page_without_an_account(open_page: OpenPage, maya: User, shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/ontraport/")
    inspect(page, "accounts-empty", shots)


def test_messages(open_page: OpenPage, maya: User, links: list[OntraportAccount], shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/ontraport/")
    page.locator("summary", has_text="Rename Wholesale").click()
    page.get_by_role("region", name="Wholesale").get_by_label("Name").fill("Wholesale 2")
    page.get_by_role("region", name="Wholesale").get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Wholesale 2")
    inspect(page, "accounts-message", shots)


def test_the_connect_page(open_page: OpenPage, maya: User, links: list[OntraportAccount], shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/ontraport/connect/")
    inspect(page, "connect", shots)
    page.goto(f"/ontraport/connect/?account={links[2].uid}")
    inspect(page, "reconnect", shots)
    page.goto(f"/ontraport/connect/?account={links[4].uid}&next=/used/")
    inspect(page, "reconnect-key", shots)
    allowed = ["refund_transaction", "get_account_info", "get_objects", "update_object", "send_a_fax", "delete_object"]
    with override_settings(ONTRAPORT_MCP_TOOLS=allowed):
        page.goto("/ontraport/connect/")
    inspect(page, "connect-tools", shots)


def test_the_key_form(open_page: OpenPage, maya: User, links: list[OntraportAccount], shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/ontraport/connect/key/")
    inspect(page, "key", shots)
    page.get_by_label("App ID").fill("2_187157_sandbox")
    page.get_by_label("API key").fill("not a key")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    inspect(page, "key-wrong", shots)
    page.goto(f"/ontraport/connect/key/?account={links[4].uid}")
    page.get_by_label("App ID").fill("2_187157_sandbox")
    page.get_by_label("API key").fill("sandbox-key-owner")
    page.get_by_role("button", name="Save key").click()
    expect(page.get_by_role("alert")).to_contain_text("187157")
    inspect(page, "key-different", shots)


@pytest.mark.parametrize("code", ["denied", "misconfigured", "unavailable"])
def test_the_problem_page(open_page: OpenPage, maya: User, shots: Path | None, code: str) -> None:
    page = open_page(maya)
    page.goto(f"/ontraport/problem/{code}/")
    inspect(page, f"problem-{code}", shots)


def test_the_page_for_developers_without_a_stand_in(open_page: OpenPage, maya: User, shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/ontraport/connect/")
    with override_settings(DEBUG=True, ONTRAPORT_ENDPOINTS="sandbox", ONTRAPORT_SANDBOX_URL="http://127.0.0.1:1"):
        page.get_by_role("button", name="Continue to Ontraport").click()
        expect(page.get_by_role("heading", name="The stand-in for Ontraport is not running")).to_be_visible()
        inspect(page, "start-sandbox", shots)
        expect(page.get_by_role("link", name="Back to")).to_be_visible()


def test_the_page_of_who_opens_the_address_of_a_form(
    open_page: OpenPage, maya: User, links: list[OntraportAccount], shots: Path | None
) -> None:
    page = open_page(maya)
    page.goto(f"/ontraport/{links[0].uid}/rename/")
    inspect(page, "posted", shots)
    page.get_by_role("link", name="See your accounts").click()
    expect(page.get_by_role("heading", name="Ontraport accounts")).to_be_visible()


def test_the_problem_page_of_who_is_signed_out(open_page: OpenPage, shots: Path | None) -> None:
    page = open_page()
    page.goto("/ontraport/problem/signed_out/")
    inspect(page, "problem-signed-out", shots)


def test_the_unavailable_page(open_page: OpenPage, maya: User, shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/unavailable/")
    inspect(page, "unavailable", shots)


def test_the_page_that_fetches_a_strict_cookie(open_page: OpenPage, shots: Path | None) -> None:
    page = open_page()
    page.route("**/callback/?*returned=1", lambda route: route.fulfill(status=204))
    with override_settings(SESSION_COOKIE_SAMESITE="Strict"):
        page.goto("/ontraport/callback/?state=s&code=c", wait_until="commit")
    expect(page.get_by_role("link", name="Continue")).to_be_visible()
    inspect(page, "return", shots)


def test_the_button(open_page: OpenPage, maya: User, shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/")
    inspect(page, "button-connect", shots)
    account = OntraportAccount.objects.create(user=maya, label="Harbour Street Coffee", ontraport_id="187157")
    page.reload()
    inspect(page, "button-connected", shots)
    OntraportAccount.objects.filter(pk=account.pk).update(status=Status.NEEDS_RECONNECT)
    page.reload()
    inspect(page, "button-reconnect", shots)


def test_a_language_without_a_catalogue_gets_a_page_in_one_language_and_direction(
    open_page: OpenPage, maya: User, links: list[OntraportAccount], shots: Path | None
) -> None:
    page = open_page(maya)
    page.goto("/?language=ar")
    inspect(page, "button-rtl", shots)
    page.goto("/ontraport/?language=ar")
    expect(page.get_by_role("heading", level=1)).to_have_text("Ontraport accounts")
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).direction") == "ltr"
    inspect(page, "accounts-rtl", shots)


def test_the_theme_is_the_page_s_or_what_was_asked_for(open_page: OpenPage, maya: User, shots: Path | None) -> None:
    page = open_page(maya, color_scheme="dark")
    page.goto("/themes/")
    colours = [background(page, theme) for theme in ("auto", "light", "dark")]
    assert colours[0] == colours[1] != colours[2]


def test_the_colours_can_be_changed_from_outside(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    page.goto("/themes/")
    page.evaluate("document.documentElement.style.setProperty('--ontraport-accent', 'rgb(1, 2, 3)')")
    assert background(page, "light") == "rgb(1, 2, 3)"


def background(page: Page, theme: str) -> str:
    return str(page.locator(f"section.{theme} button").evaluate("element => getComputedStyle(element).backgroundColor"))


def test_a_linked_account_can_be_renamed_in_another_script(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    person.link(page)
    page.goto("/ontraport/")
    page.locator("summary", has_text="Rename").click()
    page.get_by_label("Name").fill("قهوة شارع الميناء")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="قهوة شارع الميناء")).to_be_visible()
