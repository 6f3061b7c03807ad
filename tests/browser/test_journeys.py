"""What people do, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone
from playwright.sync_api import Page, expect

from ontraport_connect.models import Method, OntraportAccount, Status
from tests.browser import person
from tests.support.servers import Sandbox

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.django_db(transaction=True)


def path_of(page: Page) -> str:
    parts = urlsplit(page.url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@pytest.mark.parametrize("javascript", [True, False])
def test_a_first_link_comes_back_to_the_page_with_the_button(open_page: OpenPage, maya: User, javascript: bool) -> None:
    page = open_page(maya, java_script_enabled=javascript)
    person.link(page)
    expect(page.get_by_text("Connected as Harbour Street Coffee").first).to_be_visible()
    assert path_of(page) == "/"
    page.get_by_role("link", name="Manage Ontraport accounts").first.click()
    expect(page.get_by_role("status")).to_have_text("Harbour Street Coffee is connected.")
    expect(page.get_by_role("region", name="Harbour Street Coffee")).to_contain_text("187157")


@pytest.mark.parametrize("javascript", [True, False])
def test_back_from_ontraport_is_the_page_with_the_button(open_page: OpenPage, maya: User, javascript: bool) -> None:
    """The page in between, which takes a browser to Ontraport, is not in the history."""
    page = open_page(maya, java_script_enabled=javascript)
    page.goto("/")
    page.get_by_role("button", name="Connect Ontraport").first.click()
    expect(page.get_by_label("Username")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="An adopter's page")).to_be_visible()
    page.go_forward()
    expect(page.get_by_label("Username")).to_be_visible()
    person.sign_in(page)
    person.allow(page)
    expect(page.get_by_text("Connected as Harbour Street Coffee").first).to_be_visible()


def test_who_denies_access_reads_so_and_can_start_again_where_they_were(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    page.goto("/used/")
    expect(page.get_by_text("Please connect it first.")).to_be_visible()
    expect(page.get_by_role("link", name="Cancel")).to_have_attribute("href", "/")
    page.get_by_role("button", name="Continue to Ontraport").click()
    person.sign_in(page)
    person.deny(page)
    expect(page.get_by_role("heading", name="You didn't allow access")).to_be_visible()
    assert path_of(page) == "/ontraport/problem/denied/"
    expect(page.get_by_role("link", name="Back to localhost")).to_have_attribute("href", "/")
    page.get_by_role("link", name="Try again").click()
    page.get_by_role("button", name="Continue to Ontraport").click()
    person.allow(page)
    expect(page.get_by_role("heading", name="Used")).to_be_visible()


def test_two_tabs_can_be_finished_in_any_order(open_page: OpenPage, maya: User) -> None:
    first = open_page(maya)
    first.goto("/")
    first.get_by_role("button", name="Connect Ontraport").first.click()
    person.sign_in(first)
    second = first.context.new_page()
    second.goto("/")
    second.get_by_role("button", name="Connect Ontraport").first.click()
    person.allow(second)
    expect(second.get_by_text("Connected as Harbour Street Coffee").first).to_be_visible()
    person.allow(first)
    expect(first.get_by_text("Connected as Harbour Street Coffee").first).to_be_visible()
    assert OntraportAccount.objects.count() == 1


def test_an_answer_counts_once(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    callbacks: list[str] = []
    page.on("request", lambda request: callbacks.append(request.url) if "/callback/" in request.url else None)
    person.link(page)
    page.wait_for_url("**/")
    page.goto(callbacks[0])
    expect(page.get_by_role("heading", name="You've already finished this")).to_be_visible()
    assert OntraportAccount.objects.get().status == Status.CONNECTED


def test_a_revoked_link_leads_to_reconnecting_and_back(open_page: OpenPage, maya: User, sandbox: Sandbox) -> None:
    page = open_page(maya)
    person.link(page)
    page.wait_for_url("**/")
    sandbox.revoke()
    OntraportAccount.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    page.goto("/used/")
    expect(page.get_by_role("heading", name="Reconnect Harbour Street Coffee")).to_be_visible()
    page.get_by_role("button", name="Continue to Ontraport").click()
    person.allow(page)
    expect(page.get_by_role("heading", name="Used")).to_be_visible()
    assert OntraportAccount.objects.get().status == Status.CONNECTED


def test_reconnecting_with_a_different_ontraport_account_is_refused_in_words(open_page: OpenPage, maya: User) -> None:
    OntraportAccount.objects.create(user=maya, label="Northlight", ontraport_id="204211", status=Status.NEEDS_RECONNECT)
    page = open_page(maya)
    page.goto("/ontraport/")
    page.get_by_role("button", name="Reconnect Ontraport Northlight").click()
    person.sign_in(page, "owner")
    person.allow(page)
    expect(page.get_by_role("heading", name="That's a different Ontraport account")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("204211")
    page.get_by_role("button", name="Try again as 204211").click()
    person.allow(page)
    expect(page.get_by_role("heading", name="That's a different Ontraport account")).to_be_visible()
    page.get_by_role("button", name="Connect it as another account").click()
    person.allow(page)
    expect(page.get_by_role("heading", name="Harbour Street Coffee")).to_be_visible()
    assert OntraportAccount.objects.count() == 2


def test_a_key_pair_is_linked_after_a_wrong_try_and_shown_to_nobody(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    page.goto("/ontraport/connect/")
    page.get_by_role("link", name="Connect with it instead").click()
    page.get_by_label("App ID").fill("2_187157_sandbox")
    page.get_by_label("API key").fill("a-wrong-key")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("alert")).to_contain_text("recognize this App ID and key")
    assert "a-wrong-key" not in page.content()
    page.get_by_label("API key").fill("sandbox-key-owner")
    page.get_by_label("Name").fill("Shop")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("status")).to_have_text("Shop is connected.")
    assert "sandbox-key" not in page.content()
    assert OntraportAccount.objects.get().method == Method.API_KEY


def test_disconnecting_says_what_happens_before_it_does(open_page: OpenPage, maya: User, sandbox: Sandbox) -> None:
    page = open_page(maya)
    person.link(page)
    page.goto("/ontraport/")
    confirm = page.get_by_role("button", name="Disconnect Harbour Street Coffee", exact=True)
    expect(confirm).to_be_hidden()
    page.locator("summary", has_text="Disconnect").click()
    expect(page.get_by_text("We also tell Ontraport to end our access.")).to_be_visible()
    confirm.click()
    expect(page.get_by_role("status").last).to_contain_text("Disconnected Harbour Street Coffee.")
    expect(page.get_by_role("heading", name="Connect your Ontraport account")).to_be_visible()
    assert [grant["alive"] for grant in sandbox.state()["grants"] if grant["username"] == "owner"][:1] == [False]


def test_the_whole_way_by_keyboard(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    page.goto("/")
    press_until(page, "Connect Ontraport")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("owner")
    page.keyboard.press("Tab")
    page.keyboard.type("sandbox")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Allow")).to_be_visible()
    press_until(page, "Allow")
    page.wait_for_url("**/")
    press_until(page, "Manage Ontraport accounts")
    page.wait_for_url("**/ontraport/")
    press_until(page, "Rename Harbour Street Coffee")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("Shop")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Shop")).to_be_visible()
    press_until(page, "Disconnect Shop")
    press_until(page, "Disconnect Shop")
    expect(page.get_by_role("heading", name="Connect your Ontraport account")).to_be_visible()


def press_until(page: Page, name: str) -> None:
    """Tab to the element with this name, check that its focus is visible, and press Enter."""
    words = "[document.activeElement.textContent.replace(/\\s+/g, ' ').trim(), getComputedStyle(document.activeElement).outlineStyle]"
    for _ in range(30):
        page.keyboard.press("Tab")
        text, outline = page.evaluate(words)
        if text == name:
            assert outline != "none"
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"nothing called {name} can be reached with the Tab key")


def test_a_strict_session_cookie_links_all_the_same(open_page: OpenPage, maya: User, site: str) -> None:
    page = open_page(maya)
    cookie = next(cookie for cookie in page.context.cookies() if cookie["name"] == "sessionid")
    page.context.clear_cookies()
    page.context.add_cookies(
        [{"name": "sessionid", "value": cookie.get("value", ""), "url": site, "sameSite": "Strict", "httpOnly": True}]
    )
    with override_settings(SESSION_COOKIE_SAMESITE="Strict"):
        seen: list[str] = []
        page.on("response", lambda response: seen.append(response.url) if "/callback/" in response.url else None)
        person.link(page)
        expect(page.get_by_text("Connected as Harbour Street Coffee").first).to_be_visible()
    assert ["returned=1" in url for url in seen] == [False, True]


def test_who_is_signed_out_meanwhile_reads_so_and_can_sign_in(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    page.goto("/")
    page.get_by_role("button", name="Connect Ontraport").first.click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.context.clear_cookies(name="sessionid")
    person.sign_in(page)
    person.allow(page)
    expect(page.get_by_role("heading", name="You're signed out")).to_be_visible()
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Username").fill("maya")
    assert path_of(page) == "/admin/login/?next=/ontraport/connect/"
    assert not OntraportAccount.objects.exists()
