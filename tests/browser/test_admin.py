"""What support staff do in the admin, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from ontraport_connect.staff import tallies
from tests.browser import person
from tests.browser.look import inspect
from tests.support.servers import Sandbox

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.django_db(transaction=True)

DJANGOS_OWN = ["#searchbar", ".breadcrumbs"]
LIST = "/admin/ontraport_connect/ontraportaccount/"


@pytest.fixture
def staff(transactional_db: None) -> User:
    return get_user_model().objects.create_superuser("support", password="demo")


def choose(page: Page, action: str) -> None:
    page.locator("input.action-select").first.check()
    page.get_by_label("Action:").select_option(action)
    page.locator("button[name=index]").first.click()


def test_support_refreshes_and_disconnects_a_link(open_page: OpenPage, staff: User, sandbox: Sandbox) -> None:
    page = open_page(staff)
    person.link(page)
    page.goto(LIST)
    choose(page, "refresh_now")
    expect(page.get_by_role("main")).to_contain_text("refreshed")
    assert sandbox.state()["counts"]["token:refresh_token"] == 1
    choose(page, "disconnect")
    expect(page.get_by_role("main")).to_contain_text("Harbour Street Coffee")
    assert OntraportAccount.objects.exists()
    page.get_by_role("main").get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("main")).to_contain_text("disconnected")
    assert not OntraportAccount.objects.exists()
    assert not any(grant["alive"] for grant in sandbox.state()["grants"] if grant["refreshes"] == 1)


def test_the_admin_pages(open_page: OpenPage, staff: User, shots: Path | None) -> None:
    soon = timezone.now() + timedelta(hours=2)
    well = OntraportAccount.objects.create(
        user=staff, label="Harbour Street Coffee", ontraport_id="187157", expires_at=soon
    )
    ended = OntraportAccount.objects.create(
        user=staff, label="Northlight", status=Status.NEEDS_RECONNECT, last_error="invalid_grant"
    )
    OntraportEvent.record(well, EventKind.LINKED)
    OntraportEvent.record(ended, EventKind.NEEDS_RECONNECT, "invalid_grant")
    page = open_page(staff)
    for name, path in {"list": "", "glance": "glance/", "detail": f"{ended.pk}/change/"}.items():
        page.goto(f"{LIST}{path}")
        inspect(page, f"admin-{name}", shots, but=DJANGOS_OWN)
        if name == "glance":
            lines = "[...document.querySelectorAll('.ontraport-tiles a')].map(each => getComputedStyle(each).textDecorationLine)"
            assert set(page.evaluate(lines)) == {"none"}
    page.goto(f"{LIST}{well.pk}/change/")
    tools = [tool.bounding_box() for tool in page.locator(".object-tools :is(a, button)").all()]
    assert len(tools) == 3
    assert len({(box["y"], box["height"]) for box in tools if box}) == 1
    page.goto(LIST)
    choose(page, "disconnect")
    expect(page.get_by_role("main")).to_contain_text("will be disconnected")
    inspect(page, "admin-disconnect", shots, but=DJANGOS_OWN)


def test_on_a_narrow_screen_the_latest_hours_are_in_sight(open_page: OpenPage, staff: User, shots: Path | None) -> None:
    tallies.count_refreshes({"refreshed": 7})
    page = open_page(staff, viewport={"width": 375, "height": 700})
    page.goto(f"{LIST}glance/")
    latest = page.locator(".ontraport-count").bounding_box()
    frame = page.locator(".ontraport-picture").bounding_box()
    assert latest
    assert frame
    assert frame["x"] <= latest["x"] <= latest["x"] + latest["width"] <= frame["x"] + frame["width"] + 1
    inspect(page, "admin-chart", shots, but=DJANGOS_OWN)
