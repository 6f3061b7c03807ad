"""What people see in a second: many accounts, other languages, forced colours, foreign style sheets, and what follows a click."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from ontraport_connect.refreshing import circuit_breaker
from tests.browser.look import inspect

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/ontraport_connect/ontraportaccount/"
PREFLIGHT = "* { margin: 0; padding: 0; border: 0 solid } a { color: inherit; text-decoration: inherit }"
"""What Tailwind's preflight does to links."""


@pytest.fixture
def twenty(maya: User) -> list[OntraportAccount]:
    accounts = [
        OntraportAccount.objects.create(user=maya, label=f"Client {number}", ontraport_id=str(1000 + number))
        for number in range(20)
    ]
    OntraportAccount.objects.filter(pk=accounts[7].pk).update(status=Status.NEEDS_RECONNECT, last_error="invalid_grant")
    OntraportAccount.objects.filter(pk=accounts[13].pk).update(failures=2, last_error="timeout")
    OntraportEvent.record(accounts[7], EventKind.NEEDS_RECONNECT, "invalid_grant")
    return accounts


@pytest.mark.parametrize("javascript", [True, False])
def test_twenty_accounts_have_what_needs_somebody_first_and_can_be_searched(
    open_page: OpenPage, maya: User, twenty: list[OntraportAccount], shots: Path | None, javascript: bool
) -> None:
    page = open_page(maya, java_script_enabled=javascript)
    page.goto("/ontraport/")
    expect(page.get_by_text("1 of 20 accounts needs your attention.")).to_be_visible()
    expect(page.get_by_role("heading", level=2).first).to_have_text("Client 7")
    if javascript:
        inspect(page, "accounts-twenty", shots)
    page.get_by_role("searchbox").fill("1013")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(["Client 13"])
    page.get_by_role("heading", name="Client 13").click()
    page.locator("summary", has_text="Rename").click()
    page.get_by_label("Name", exact=True).fill("Last \u202e one")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("heading", name="Client 13")).to_be_in_viewport()
    card = page.get_by_role("region", name="Client 13")
    card.get_by_label("Name", exact=True).fill("The last one")
    card.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="The last one")).to_be_in_viewport()
    expect(page.get_by_text("What this site can do The last one")).to_be_visible()


CONTRAST = """([selector, pseudo, property, behind]) => {
    const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
        .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [.2126, .7152, .0722][index], 0)
    const element = document.querySelector(selector)
    const style = getComputedStyle(element, pseudo)
    const [lower, higher] = [light(style[property]), light(getComputedStyle(element.closest(behind)).backgroundColor)]
        .sort((one, other) => one - other)
    return style.opacity * (higher + .05) / (lower + .05)
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_hint_to_search_can_be_read_and_the_default_s_outline_seen(
    open_page: OpenPage, maya: User, twenty: list[OntraportAccount], scheme: str
) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11; axe looks at neither."""
    OntraportAccount.objects.filter(pk=twenty[0].pk).update(is_default=True)
    page = open_page(maya, color_scheme=scheme)
    page.goto("/ontraport/")
    assert page.evaluate(CONTRAST, ["[type=search]", "::placeholder", "color", "input"]) >= 4.5
    assert page.evaluate(CONTRAST, ["[class=ontraport-badge]", None, "borderTopColor", "section"]) >= 3


@pytest.mark.parametrize("language", ["de", "es", "fr", "nl"])
def test_the_pages_in_other_languages(
    open_page: OpenPage, maya: User, twenty: list[OntraportAccount], shots: Path | None, language: str
) -> None:
    page = open_page(maya)
    for name, path in {"accounts": "", "connect": "connect/", "problem": "problem/denied/"}.items():
        page.goto(f"/ontraport/{path}?language={language}")
        inspect(page, f"{name}-{language}", shots)
        assert page.locator("html").get_attribute("lang") == ("en" if language == "nl" else language)


def test_the_button_tells_when_there_is_trouble(open_page: OpenPage, maya: User, shots: Path | None) -> None:
    account = OntraportAccount.objects.create(user=maya, label="Harbour Street Coffee", failures=2, is_default=True)
    OntraportAccount.objects.create(user=maya, label="Second")
    page = open_page(maya)
    page.goto("/")
    expect(page.get_by_text("Harbour Street Coffee · Having trouble").first).to_be_visible()
    expect(page.get_by_text("+1").first).to_be_visible()
    inspect(page, "button-trouble", shots)
    OntraportAccount.objects.filter(pk=account.pk).update(failures=0)
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    page.reload()
    expect(page.get_by_text("Harbour Street Coffee · Paused on our side").first).to_be_visible()
    page.goto("/ontraport/")
    inspect(page, "accounts-paused", shots)


def test_the_dot_of_a_connected_account_is_solid_in_forced_colours(open_page: OpenPage, maya: User) -> None:
    OntraportAccount.objects.create(user=maya, label="Harbour Street Coffee")
    page = open_page(maya, forced_colors="active")
    page.goto("/")
    dot = "getComputedStyle(document.querySelector('.ontraport-as'), '::before')"
    assert page.evaluate(f"{dot}.backgroundColor === {dot}.borderColor")
    page.goto("/ontraport/")
    OntraportAccount.objects.update(status=Status.NEEDS_RECONNECT)
    page.reload()
    note = "getComputedStyle(document.querySelector('.ontraport-note'))"
    assert page.evaluate(f"{note}.borderTopWidth") == "1px"


def test_the_link_of_the_button_looks_like_one_whatever_the_site_resets(open_page: OpenPage, maya: User) -> None:
    OntraportAccount.objects.create(user=maya, label="Harbour Street Coffee")
    page = open_page(maya)
    page.route("**/site.css", lambda route: route.fulfill(body=PREFLIGHT, content_type="text/css"))
    page.goto("/")
    line = "getComputedStyle(document.querySelector('.ontraport-button a')).textDecorationLine"
    assert page.evaluate(line) == "underline"


PRESS = """async () => {
    const button = document.querySelector("button.ontraport-primary")
    const look = () => [button.getAttribute("aria-busy"), button.textContent.trim(), button.disabled]
    button.form.addEventListener("submit", event => event.preventDefault())
    button.click()
    await new Promise(resolve => setTimeout(resolve))
    const busy = look()
    dispatchEvent(new PageTransitionEvent("pageshow"))
    return [busy, look()]
}"""


def test_a_form_on_its_way_says_so_and_is_there_again_after_back(open_page: OpenPage, maya: User) -> None:
    page = open_page(maya)
    page.goto("/ontraport/connect/")
    assert page.evaluate(PRESS) == [["true", "One moment…", True], [None, "Continue to Ontraport", False]]


def test_who_thinks_better_of_disconnecting_keeps_the_account(open_page: OpenPage, maya: User) -> None:
    OntraportAccount.objects.create(user=maya, label="Shop")
    page = open_page(maya)
    page.goto("/ontraport/")
    page.locator("summary", has_text="Disconnect").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("link", name="Cancel")).to_be_hidden()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_the_admin_s_list_fits_a_laptop_and_a_phone(open_page: OpenPage, maya: User) -> None:
    staff = get_user_model().objects.create_superuser("support", password="demo")
    OntraportAccount.objects.create(
        user=maya,
        label="The one with the very long name that somebody gave it, without-a-space-in-the-middle-of-this-part-of-it",
        ontraport_id="204211",
        failures=2,
        last_error="http_503",
        refreshed_at=timezone.now() - timedelta(minutes=12),
    )
    page = open_page(staff)
    page.goto(LIST)
    table = "document.querySelector('#result_list').parentElement"
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(f"{table}.scrollWidth <= {table}.clientWidth"), width
