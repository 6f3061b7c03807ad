"""One person whose address fails, with many links, delays their own e-mails and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.test import override_settings

from ontraport_connect.models import OntraportAccount
from ontraport_connect.staff import notices
from ontraport_connect.staff.notice_memory import NoticeMemory
from tests.support.mail_server import mailer
from tests.support.notices import REDIRECT_URI, broken_account, let_pauses_pass

pytestmark = pytest.mark.django_db(transaction=True)


class Picky(BaseEmailBackend):
    """Takes every message but those to ``mallory…``."""

    error: Exception
    tried: list[str]

    def send_messages(self, email_messages: Any) -> int:
        (address,) = email_messages[0].to
        self.tried.append(address)
        if address.lower().startswith("mallory"):
            raise self.error
        mail.outbox.extend(email_messages)
        return 1


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Picky, "tried", [], raising=False)
    monkeypatch.setattr(Picky, "error", ConnectionError(), raising=False)
    mail.outbox = []
    with override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=REDIRECT_URI, **mailer(f"{__name__}.Picky")):
        yield


def user(name: str, address: str = "") -> Any:
    return get_user_model().objects.create_user(name, email=address or f"{name}@example.com")


def told() -> list[str]:
    return [message.to[0] for message in mail.outbox]


FAILURES = pytest.mark.parametrize(
    "error",
    [
        ConnectionError(),
        RuntimeError("the provider's API: 400 invalid recipient"),
        SMTPDataError(554, b"Transaction failed: address is on the suppression list"),
        SMTPRecipientsRefused({"mallory": (450, b"mailbox is full")}),
    ],
    ids=["connection", "another package's", "message", "address"],
)


@FAILURES
def test_many_links_of_one_person_cost_one_attempt_a_round_and_delay_nobody(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Picky, "error", error)
    mallory = user("mallory")
    accounts = [broken_account(mallory, ontraport_id=str(number)) for number in range(30)]
    broken_account(user("maya"))
    assert notices.send_due_notices() == 1
    assert told() == ["maya@example.com"]
    assert Picky.tried == ["mallory@example.com", "maya@example.com"]
    memory = NoticeMemory.load()
    assert not memory.is_paused
    assert sorted(memory.waiting()) == sorted(str(account.uid) for account in accounts)
    assert not OntraportAccount.objects.filter(user=mallory).exclude(notified_at=None).exists()


def test_an_address_of_several_people_counts_once() -> None:
    for number in range(5):
        broken_account(user(f"name {number}", f"{'Mallory' if number % 2 else 'mallory'}@example.com"))
    broken_account(user("maya"))
    assert notices.send_due_notices() == 1
    assert len(Picky.tried) == 2


def test_a_mail_server_that_is_away_is_one_for_whom_three_addresses_fail() -> None:
    for number in range(notices.MAX_FAILURES):
        for _ in range(3):
            broken_account(user(f"person {number} {_}", f"mallory{number}@example.com"))
    broken_account(user("maya"))
    assert notices.send_due_notices() == 0
    assert NoticeMemory.load().is_paused
    assert len(Picky.tried) == notices.MAX_FAILURES


def test_who_has_not_failed_before_comes_first_and_then_who_failed_least() -> None:
    for number in range(notices.MAX_FAILURES):
        broken_account(user(f"mallory{number}"))
    for name in ("maya", "tomas"):
        broken_account(user(name))
    assert notices.send_due_notices() == 0
    memory = NoticeMemory.load()
    tomas = OntraportAccount.objects.get(user__username="tomas")
    memory.put_off(tomas.uid)
    for account in OntraportAccount.objects.filter(user__username__startswith="mallory"):
        memory.put_off(account.uid)
    assert memory.save()
    let_pauses_pass()
    Picky.tried.clear()
    assert notices.send_due_notices() == 2
    assert Picky.tried[:2] == ["maya@example.com", "tomas@example.com"]


def test_messages_that_are_refused_end_no_round_but_keep_the_time_of_those_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A relay that refuses every text (a quota, a sender that it does not know) is no fault of so many recipients."""
    monkeypatch.setattr(Picky, "error", SMTPDataError(554, b"sender is not authorised"))
    for number in range(notices.MAX_FAILURES + 2):
        broken_account(user(f"mallory{number}"))
    assert notices.send_due_notices() == 0
    memory = NoticeMemory.load()
    assert len(Picky.tried) == notices.MAX_FAILURES + 2
    assert (memory.is_paused, memory.held_until == 0) == (False, False)


def test_one_message_that_is_refused_is_no_fault_of_the_mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Picky, "error", SMTPDataError(554, b"spam"))
    broken_account(user("mallory"))
    assert notices.send_due_notices() == 0
    assert NoticeMemory.load().held_until == 0
