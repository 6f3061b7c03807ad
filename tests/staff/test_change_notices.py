"""People are told when a link of theirs was made or removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models import F
from django.test import override_settings

from ontraport_connect import tasks
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent
from ontraport_connect.staff import change_notices, notice_messages
from tests.support.changes import let_pauses_pass
from tests.support.mail_server import mailer
from tests.support.notices import REDIRECT_URI, broken_account

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    with override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=REDIRECT_URI, **mailer("locmem")):
        yield


@pytest.fixture
def maya() -> Any:
    user = get_user_model().objects.create_user("maya", email="maya@example.com", first_name="Maya")
    assert change_notices.send_change_notices() == 0  # notes where the history ends
    return user


def linked(user: Any, **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(
        user=user, **{"label": "Harbour Street Coffee", "ontraport_id": "187157", **values}
    )
    OntraportEvent.record(account, EventKind.LINKED)
    return account


def let_pass(minutes: float = 2) -> None:
    OntraportEvent.objects.update(at=F("at") - timedelta(minutes=minutes))


def told() -> list[str]:
    """Return the subjects of the e-mails that a round sends."""
    mail.outbox.clear()
    change_notices.send_change_notices()
    return [str(message.subject) for message in mail.outbox]


def test_person_is_told_once_of_a_link_that_was_made_and_of_its_end(maya: Any) -> None:
    account = linked(maya)
    assert told() == []  # too early
    let_pass()
    assert told() == ["Ontraport was connected to shop.example.com (Harbour Street Coffee)"]
    assert told() == []
    account.delete()
    let_pass()
    assert told() == ["Ontraport was disconnected from shop.example.com (Ontraport 187157)"]
    (message,) = mail.outbox
    assert isinstance(message, mail.EmailMultiAlternatives)
    assert message.to == ["maya@example.com"]
    assert message.body.startswith("Hello Maya,\n")
    assert "no longer has access" in message.body
    assert "https://shop.example.com/ontraport/\n" in message.body
    ((html, kind),) = message.alternatives
    assert kind == "text/html"
    assert 'href="https://shop.example.com/ontraport/"' in str(html)
    assert "Review connections" in str(html)


def test_what_happened_before_it_was_switched_on_or_long_ago_is_not_told() -> None:
    user = get_user_model().objects.create_user("maya", email="maya@example.com")
    linked(user)
    let_pass()
    assert [told(), told()] == [[], []]
    linked(user, ontraport_id="2")
    let_pass(minutes=60 * 25)
    assert told() == []


def test_events_of_other_kinds_are_not_told(maya: Any) -> None:
    OntraportEvent.record(linked(maya), EventKind.RECONNECTED)
    let_pass()
    assert len(told()) == 1


@pytest.mark.parametrize(
    "settings",
    [{"ONTRAPORT_NOTIFY_CHANGES": False}, {"ONTRAPORT_NOTIFY": False}, {"ONTRAPORT_REDIRECT_URI": None}],
    ids=["off", "off like the others", "no address"],
)
def test_nobody_is_told_where_it_is_not_switched_on(maya: Any, settings: dict[str, Any]) -> None:
    linked(maya)
    let_pass()
    with override_settings(**settings):
        assert told() == []


def test_who_left_the_site_or_the_tenant_is_not_told(maya: Any) -> None:
    linked(maya, tenant="acme")
    linked(get_user_model().objects.create_user("gone", email="gone@example.com", is_active=False))
    linked(get_user_model().objects.create_user("silent"))
    linked(None, tenant="acme", ontraport_id="3")
    let_pass()
    assert told() == []
    maya.user_permissions.add(Permission.objects.get(codename="link_ontraportaccount"))
    linked(maya, tenant="acme", ontraport_id="2")
    let_pass()
    assert len(told()) == 1


class Refusing(BaseEmailBackend):
    """Refuses one kind of message each: by ``error``."""

    error: Exception

    def send_messages(self, email_messages: Any) -> int:
        if "person1" in email_messages[0].to[0]:
            raise self.error
        mail.outbox.extend(email_messages)
        return 1


@pytest.mark.parametrize(
    ("error", "first", "second"),
    [
        (SMTPRecipientsRefused({"person1": (550, b"no")}), 2, 0),
        (SMTPDataError(554, b"spam"), 2, 0),
        (ConnectionError(), 2, 0),
    ],
    ids=["address", "message", "server"],
)
def test_what_fails_for_one_stops_nobody_and_is_tried_again_where_that_is_of_use(
    maya: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, first: int, second: int
) -> None:
    for number in range(3):
        linked(get_user_model().objects.create_user(f"person{number}", email=f"person{number}@example.com"))
    let_pass()
    monkeypatch.setattr(Refusing, "error", error, raising=False)
    with override_settings(**mailer("tests.staff.test_change_notices.Refusing")):
        assert [len(told()), len(told())] == [first, second]
    let_pauses_pass()
    assert len(told()) == (1 if isinstance(error, ConnectionError) else 0)


def test_round_that_has_no_time_left_goes_on_in_the_next(maya: Any) -> None:
    linked(maya)
    let_pass()
    assert change_notices.send_change_notices(seconds=-1) == 0
    assert len(told()) == 1


def test_task_sends_both_kinds(maya: Any) -> None:
    broken_account(maya)
    linked(maya)
    let_pass()
    assert tasks.send_notices() == 2


@pytest.mark.parametrize(
    ("attribute", "value", "subject"),
    [
        ("language_code", "de", "Ontraport wurde mit Shop & Co. verbunden (Tea)"),
        ("locale", "fr_CA", "Ontraport a été connecté à Shop & Co. (Tea)"),
        ("language", "xx", "Ontraport was connected to Shop & Co. (Tea)"),
        ("preferred_language", 7, "Ontraport was connected to Shop & Co. (Tea)"),
        ("language", "nl", "Ontraport was connected to Shop & Co. (Tea)"),
    ],
)
@override_settings(ONTRAPORT_SITE_NAME="Shop & Co.")
def test_language_is_the_person_s_where_it_is_known_and_translated(
    maya: Any, attribute: str, value: object, subject: str
) -> None:
    setattr(maya, attribute, value)
    account = OntraportAccount(user=maya, label="Tea")
    message = notice_messages._message(
        notice_messages.CHANGED, account, "maya@example.com", REDIRECT_URI, {"is_made": True}
    )
    assert message.subject == subject


def test_person_with_a_key_is_told_to_enter_a_new_one(maya: Any) -> None:
    broken_account(maya, method=Method.API_KEY)
    tasks.send_notices()
    (message,) = mail.outbox
    assert message.subject == "Update your Ontraport key on shop.example.com (Harbour Street Coffee)"
    assert "Enter a new key here:" in message.body
