"""The pages inside an adopter's site, whose style sheet resets what browsers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import override_settings
from playwright.sync_api import Page

from ontraport_connect.models import OntraportAccount, Status
from tests.browser.look import inspect

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.django_db(transaction=True)

HOST = Path(__file__).parent / "host_site"

LOOK = """() => {
    const all = selector => [...document.querySelectorAll(`.ontraport-main ${selector}`)].filter(each => each.checkVisibility())
    const style = (each, name) => getComputedStyle(each)[name]
    const bare = each => parseFloat(style(each, "borderTopWidth")) < 1 || style(each, "borderTopStyle") === "none"
    return {
        "headings like text": all(":is(h1, h2)").filter(each => Number(style(each, "fontWeight")) < 600).length,
        "steps without numbers": all("ol:not(.ontraport-history)").filter(each => style(each, "listStyleType") !== "decimal").length,
        "points without bullets": all("ul:not(.ontraport-uses)").filter(each => style(each, "listStyleType") !== "disc").length,
        "links like text": all("a:not(.ontraport-action)").filter(each => style(each, "textDecorationLine") !== "underline").length,
        "buttons without an edge": all(".ontraport-action").filter(bare).length,
        "fields without an edge": all("input:not([type=hidden])").filter(bare).length,
        "small targets": all(":is(button, summary, .ontraport-action, input)").filter(each => each.offsetHeight < 24).length,
        "pictures off centre": all("svg").filter(each => style(each, "display") !== "inline").length,
    }
}"""
NOTHING = {
    "headings like text": 0,
    "steps without numbers": 0,
    "points without bullets": 0,
    "links like text": 0,
    "buttons without an edge": 0,
    "fields without an edge": 0,
    "small targets": 0,
    "pictures off centre": 0,
}
OPEN_ALL = "document.querySelectorAll('details').forEach(each => { each.removeAttribute('name'); each.open = true })"


@pytest.fixture
def own_frame() -> Iterator[None]:
    """The adopter's template around the pages, found before the app's own."""
    engine: dict[str, Any] = {**settings.TEMPLATES[0], "DIRS": [HOST]}
    with override_settings(TEMPLATES=[engine]):
        yield


def open_in(open_page: OpenPage, user: User, host: str, **options: Any) -> Page:
    page = open_page(user, **options)
    css = HOST.joinpath(f"{host}.css").read_text()
    page.route("**/site.css", lambda route: route.fulfill(body=css, content_type="text/css"))
    return page


@pytest.mark.parametrize("host", ["preflight", "reboot"])
def test_a_host_s_reset_takes_nothing_from_the_pages(
    open_page: OpenPage, maya: User, own_frame: None, shots: Path | None, host: str
) -> None:
    page = open_in(open_page, maya, host)
    page.goto("/ontraport/?language=de")
    assert page.evaluate(LOOK) == NOTHING
    OntraportAccount.objects.create(user=maya, label="Harbour Street Coffee", ontraport_id="187157")
    OntraportAccount.objects.create(user=maya, ontraport_id="204211", status=Status.NEEDS_RECONNECT)
    for name, path in {"accounts": "", "connect": "connect/", "key": "connect/key/"}.items():
        page.goto(f"/ontraport/{path}?language=de")
        page.evaluate(OPEN_ALL)
        assert page.evaluate(LOOK) == NOTHING, name
        if name != "key":
            inspect(page, f"host-{host}-{name}", shots)


def test_buttons_keep_an_edge_in_forced_colours(open_page: OpenPage, maya: User, own_frame: None) -> None:
    page = open_in(open_page, maya, "preflight", forced_colors="active")
    page.goto("/ontraport/connect/")
    assert page.evaluate(LOOK) == NOTHING
    edge = "(({borderTopColor, backgroundColor}) => borderTopColor !== backgroundColor)"
    assert page.evaluate(f"{edge}(getComputedStyle(document.querySelector('.ontraport-primary')))")


def test_the_button_s_link_can_be_hit_in_the_small_size(open_page: OpenPage, maya: User) -> None:
    OntraportAccount.objects.create(user=maya, label="Harbour Street Coffee")
    page = open_in(open_page, maya, "preflight")
    page.goto("/")
    box = page.locator(".ontraport-small a").bounding_box()
    assert box is not None
    assert box["height"] >= 24
