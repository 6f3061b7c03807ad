"""Who gets a notice when, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core import mail
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.exceptions import ReconnectRequired
from ontraport_connect.models import OntraportAccount, OntraportEvent, Status
from ontraport_connect.refreshing import one_account
from ontraport_connect.staff import notices
from tests.support import ontraport
from tests.support.mail_server import mailer
from tests.support.notices import REDIRECT_URI, broken_account, let_pauses_pass, move_back, people
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    with override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=REDIRECT_URI, **mailer("locmem")):
        yield


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya", email="maya@example.com")


def test_person_is_told_once_with_a_link_that_leads_to_the_account(maya: Any) -> None:
    account = broken_account(maya, ontraport_id="187157")
    assert [notices.send_due_notices(), notices.send_due_notices()] == [1, 0]
    (message,) = mail.outbox
    assert message.to == ["maya@example.com"]
    assert message.subject == "Reconnect Ontraport on shop.example.com (Harbour Street Coffee)"
    assert f"https://shop.example.com/ontraport/connect/?account={account.uid}\n" in message.body
    assert message.body.startswith("Hello,\n")


@pytest.mark.parametrize(
    "label",
    [
        "Confirm at https://evil.example/",
        "evil.example",
        "evil\u3002example",
        "www.evil",
        "write to boss@evil",
        'x". Call us. "',
        "Tea\u202e",
        "Tea\u200b",
        "evil\uff61example",
        "evil\uff0eexample",
        "evil\u2024example",
        "write to boss\uff20evil",
        "x\u201c. Call us. \u201eTea",
        "x\u00bb. Call us. \u00abTea",
        "x\u275e. Call us.",
        "call +1 800 555 0199",
        "call \uff11\uff18\uff10\uff10\uff15\uff15\uff15",
        "0800 (555) 01-99",
    ],
)
def test_label_that_a_colleague_could_misuse_is_not_in_the_text(maya: Any, label: str) -> None:
    broken_account(maya, label=label, ontraport_id="187157")
    notices.send_due_notices()
    (message,) = mail.outbox
    assert 'connection to "Ontraport 187157", so' in message.body
    assert label not in message.subject


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("", "Ontraport"),
        ("Tea\nBcc: x", "Ontraport"),
        ("R&D  Tea\n& Co.", "R&D Tea & Co."),
        ("St. Mary's", "St. Mary's"),
        ("Mary\u2019s Tea", "Mary\u2019s Tea"),
        ("Tea 2019 to 24", "Tea 2019 to 24"),
    ],
)
def test_harmless_label_is_quoted_in_the_text_and_the_subject(maya: Any, label: str, shown: str) -> None:
    broken_account(maya, label=label)
    notices.send_due_notices()
    (message,) = mail.outbox
    assert f'connection to "{shown}", so' in message.body
    assert message.subject == "Reconnect Ontraport on shop.example.com" + (
        f" ({shown})" if shown != "Ontraport" else ""
    )


@override_settings(LANGUAGE_CODE="de")
def test_language_is_that_of_the_site(maya: Any) -> None:
    broken_account(maya)
    notices.send_due_notices()
    assert mail.outbox[0].subject == "Ontraport auf shop.example.com neu verbinden (Harbour Street Coffee)"


def test_link_that_ends_again_after_a_reconnect_is_told_again(maya: Any) -> None:
    account = broken_account(maya)
    notices.send_due_notices()
    OntraportAccount.objects.filter(pk=account.pk).update(linked_at=timezone.now())
    assert notices.send_due_notices() == 1


@pytest.mark.parametrize(
    "settings", [{"ONTRAPORT_NOTIFY": False}, {"ONTRAPORT_REDIRECT_URI": None}], ids=["off", "no address"]
)
def test_nobody_is_told_where_it_is_not_switched_on(maya: Any, settings: dict[str, Any]) -> None:
    broken_account(maya)
    with override_settings(**settings):
        assert notices.send_due_notices() == 0


@pytest.mark.parametrize("ago", [timedelta(minutes=1), timedelta(days=4)], ids=["just now", "long ago"])
def test_nobody_is_told_too_early_or_too_late(maya: Any, ago: timedelta) -> None:
    broken_account(maya, ago)
    assert notices.send_due_notices() == 0


def test_people_without_address_or_access_are_not_told() -> None:
    broken_account(get_user_model().objects.create_user("no-address"))
    broken_account(get_user_model().objects.create_user("left", email="left@example.com", is_active=False))
    broken_account(None, tenant="acme")
    notices.send_due_notices()
    assert mail.outbox == []


def test_person_who_left_the_tenant_is_not_told(maya: Any) -> None:
    """Without the permission to link for the tenant they could not reconnect, and its accounts are no longer their business."""
    broken_account(maya, tenant="acme")
    assert notices.send_due_notices() == 0
    maya.user_permissions.add(Permission.objects.get(codename="link_ontraportaccount"))
    let_pauses_pass()
    assert notices.send_due_notices() == 1


def test_nobody_is_told_in_a_storm_and_those_who_still_wait_are_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for person in people(notices.STORM + 5):
        broken_account(person)
    assert notices.send_due_notices() == 0
    assert "held back" in caplog.text
    move_back(days=0.1)
    OntraportAccount.objects.filter(pk=OntraportAccount.objects.all()[0].pk).update(status=Status.CONNECTED)
    assert [notices.send_due_notices(), notices.send_due_notices(), notices.send_due_notices()] == [20, 4, 0]


def test_links_of_one_person_are_no_storm(maya: Any) -> None:
    """Somebody who ends twenty throw-away links must not silence the notices to everybody else."""
    (mallory,) = people(1)
    for _ in range(notices.STORM):
        broken_account(mallory, timedelta(minutes=1))
    broken_account(maya)
    assert notices.send_due_notices() == 1
    assert mail.outbox[0].to == ["maya@example.com"]


def test_links_of_many_tenants_are_a_storm_and_those_of_one_are_none(maya: Any) -> None:
    for number in range(notices.STORM):
        broken_account(maya, tenant=f"tenant-{number}")
    assert notices.is_storm()
    OntraportEvent.objects.update(tenant="acme")
    assert not notices.is_storm()


def test_storm_silences_nobody_for_longer_than_a_day(maya: Any) -> None:
    broken_account(maya, timedelta(hours=25))
    for person in people(notices.STORM):
        broken_account(person)
    assert notices.send_due_notices() == 1
    assert mail.outbox[0].to == ["maya@example.com"]


def test_time_in_a_storm_does_not_count_towards_the_window(maya: Any) -> None:
    account = broken_account(maya)
    for person in people(notices.STORM):
        broken_account(person)
    assert notices.send_due_notices() == 0
    move_back(days=2.9)
    OntraportAccount.objects.exclude(pk=account.pk).update(status=Status.CONNECTED)
    move_back(days=0.05)
    assert notices.send_due_notices() == 1


def test_window_of_an_old_hold_is_over(maya: Any) -> None:
    broken_account(maya)
    for person in people(notices.STORM):
        broken_account(person)
    assert notices.send_due_notices() == 0
    move_back(days=3.1)
    assert notices.send_due_notices() == 0


def test_holds_close_to_each_other_are_one(maya: Any) -> None:
    account = broken_account(maya)
    for person in people(notices.STORM):
        broken_account(person)
    assert notices.send_due_notices() == 0
    move_back(days=2)
    OntraportEvent.objects.exclude(account=account).update(at=timezone.now())
    OntraportAccount.objects.filter(pk=account.pk).update(status=Status.CONNECTED)
    OntraportEvent.objects.exclude(account=account).update(at=timezone.now() - timedelta(minutes=10))
    assert notices.send_due_notices() == 0
    OntraportAccount.objects.filter(pk=account.pk).update(status=Status.NEEDS_RECONNECT)
    OntraportAccount.objects.exclude(pk=account.pk).update(status=Status.CONNECTED)
    move_back(days=2)
    assert notices.send_due_notices() == 1


class Snatched:
    """Another process that tells everybody just before this one claims."""

    done = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and "ontraport_connect_ontraportaccount" in sql and not self.done:
            self.done = True
            OntraportAccount.objects.update(notified_at=timezone.now())
        return execute(sql, params, many, context)


def test_link_that_somebody_else_tells_of_meanwhile_is_left_to_them(maya: Any) -> None:
    broken_account(maya)
    with connection.execute_wrapper(Snatched()):
        assert notices.send_due_notices() == 0
    assert mail.outbox == []


def test_task_tells_of_a_grant_that_ontraport_ended(client: Client, maya: Any, sandbox: Sandbox) -> None:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        client.force_login(maya)
        ontraport.link(client, sandbox)
        sandbox.revoke()
        account = OntraportAccount.objects.get()
        with pytest.raises(ReconnectRequired):
            one_account.refresh(account)
        OntraportAccount.objects.update(linked_at=timezone.now() - timedelta(days=1))
        OntraportEvent.objects.update(at=timezone.now() - timedelta(minutes=6))
        assert tasks.send_notices() == 1
    assert f"http://127.0.0.1:8000/ontraport/connect/?account={account.uid}" in mail.outbox[0].body
