"""A site without ``USE_TZ``, and in zones that are not whole hours from UTC, or a day ahead: every page, file and e-mail that has times."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect import refreshing, staff, tasks
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent
from ontraport_connect.staff import bulk_operations
from ontraport_connect.testing import fake_ontraport
from tests.support.linked import person
from tests.support.mail_server import mailer
from tests.support.notices import REDIRECT_URI, broken_account
from tests.support.pages import ACCOUNTS, linked, text

pytestmark = pytest.mark.django_db(transaction=True)

ZONES = {"Asia/Kathmandu": "+05:45", "Pacific/Kiritimati": "+14:00"}
LIST = "admin:ontraport_connect_ontraportaccount"


@pytest.fixture(params=[(zone, use_tz) for zone in ZONES for use_tz in (False, True)], ids=str)
def offset(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the distance from UTC of times on pages."""
    zone, use_tz = request.param
    with override_settings(TIME_ZONE=zone, USE_TZ=use_tz, ONTRAPORT_REDIRECT_URI=REDIRECT_URI):
        yield ZONES[zone]


@pytest.fixture
def browser(offset: str) -> Client:
    """A browser of somebody with all permissions."""
    browser = Client()
    browser.force_login(get_user_model().objects.create_superuser("maya", "maya@example.com"))
    return browser


@pytest.fixture
def account(browser: Client) -> OntraportAccount:
    account = linked(get_user_model().objects.get(), expires_at=timezone.now())
    OntraportEvent.record(account, EventKind.LINKED)
    return account


def is_now(moment: str) -> bool:
    """Tell whether a time names its zone, and is this one."""
    return abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < timedelta(hours=1)


def test_the_pages_of_a_person(browser: Client, account: OntraportAccount, offset: str) -> None:
    page = text(browser.get(ACCOUNTS))
    assert "just now" in page
    moments = re.findall('<time datetime="([^"]+)"', page)
    assert moments
    assert all(map(is_now, moments))
    answer = browser.get(ACCOUNTS, headers={"accept": "application/json"}).json()["accounts"][0]
    assert is_now(answer["linked_at"])
    assert is_now(answer["history"][0]["at"])


def test_the_pages_of_staff(browser: Client, account: OntraportAccount, offset: str) -> None:
    pages = [reverse(f"{LIST}_{view}") for view in ("changelist", "glance")]
    pages += [reverse(f"{LIST}_{view}", args=[account.pk]) for view in ("change", "history")]
    assert [browser.get(page).status_code for page in pages] == [200] * 4
    exported: Any = browser.post(pages[0], {"action": "export", "_selected_action": [account.pk]})
    assert datetime.now(UTC).strftime("%Y-%m-%d") in b"".join(exported.streaming_content).decode()
    assert is_now(staff.export_person(account.user)["events"][0]["at"])


def test_what_a_command_prints(account: OntraportAccount) -> None:
    out = StringIO()
    call_command("ontraport", "accounts", "--json", stdout=out)
    assert is_now(json.loads(out.getvalue())[0]["expires_at"])


def test_an_e_mail(offset: str) -> None:
    maya = person("maya")
    maya.email = "maya@example.com"
    maya.save()
    broken_account(maya)
    with override_settings(ONTRAPORT_NOTIFY=True, **mailer("locmem")):
        assert tasks.send_notices() == 1
    assert "Harbour Street Coffee" in mail.outbox[0].body


def test_a_refresh_that_fails_in_the_admin_says_when_it_is_tried_again(browser: Client, offset: str) -> None:
    maya = get_user_model().objects.get()
    with fake_ontraport() as ontraport:
        account = ontraport.linked_account(maya)
        ontraport.expire()
        assert account.mcp("get_account_info")["account_id"] == 187157
        account.refresh_from_db()
        refreshing.refresh(account)
        assert account.expires_at is not None
        assert account.expires_at > timezone.now()
        ontraport.fail(503)
        (outcome,) = bulk_operations.refresh([account])
    assert "Next try at" in str(outcome.text)
