"""The two pictures of the README: ``tox run -e shots`` leaves them in shots/, from where they are copied to docs/pictures."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone
from playwright.sync_api import Page, expect

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from tests.support.servers import PROJECT

pytestmark = pytest.mark.django_db(transaction=True)

WIDTH = 720
PICTURES = ("connect", "accounts")


@pytest.fixture(autouse=True)
def name_of_the_site() -> Iterator[None]:
    with override_settings(ONTRAPORT_SITE_NAME="Brightside Bookings"):
        yield


def keep(page: Page, name: str, shots: Path | None) -> None:
    page.set_viewport_size({"width": WIDTH, "height": 300})
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / f"readme-{name}.png", full_page=True)


@override_settings(ONTRAPORT_MCP_TOOLS=["get_objects", "count_objects"])
def test_the_page_that_connects(open_page: Callable[..., Page], maya: User, shots: Path | None) -> None:
    page = open_page(maya)
    page.goto("/ontraport/connect/")
    expect(page.locator("form[action='/ontraport/connect/'] button").first).to_be_visible()
    keep(page, "connect", shots)


def test_the_page_of_the_links(open_page: Callable[..., Page], maya: User, shots: Path | None) -> None:
    linked_at = timezone.now() - timedelta(days=92)
    well = OntraportAccount.objects.create(
        user=maya, linked_at=linked_at, label="Harbour Street Coffee", ontraport_id="187157", is_default=True
    )
    ended = OntraportAccount.objects.create(
        user=maya,
        linked_at=linked_at,
        label="Northlight Agency",
        ontraport_id="204211",
        status=Status.NEEDS_RECONNECT,
        last_error="invalid_grant",
    )
    for account in (well, ended):
        OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.record(ended, EventKind.NEEDS_RECONNECT, "invalid_grant")
    page = open_page(maya)
    page.goto("/ontraport/")
    expect(page.get_by_role("region", name="Northlight Agency")).to_contain_text("204211")
    keep(page, "accounts", shots)


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_small_and_as_wide_as_it_is_taken(name: str) -> None:
    content = (PROJECT / "docs" / "pictures" / f"{name}.png").read_bytes()
    assert struct.unpack(">I", content[16:20]) == (WIDTH,)
    assert len(content) < 120_000
