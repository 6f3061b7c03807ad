"""Mail servers and addresses that fail: refreshing goes on, everybody else is told, and nobody is forgotten or tried for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.test import override_settings

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount
from ontraport_connect.staff import notice_memory, notice_rounds, notices
from ontraport_connect.staff.notice_memory import NoticeMemory
from tests.support.mail_server import MailServer, mail_server, mailer, silent_server
from tests.support.notices import REDIRECT_URI, broken_account, let_pauses_pass, move_back, people
from tests.support.servers import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    with override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=REDIRECT_URI, **mailer("locmem")):
        yield


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as server, override_settings(**server.settings):
        yield server


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya", email="maya@example.com")


def account_of(address: str) -> OntraportAccount:
    return broken_account(get_user_model().objects.create_user(f"user of {address}"[:100], email=address))


def is_told(account: OntraportAccount) -> bool:
    return OntraportAccount.objects.get(pk=account.pk).notified_at is not None


LONG_AGO = timedelta(hours=2)  # no storm

BAD_ADDRESSES = [
    "ann@",
    "@example.com",
    "ann@example.com\nBcc: everybody@example.com",
    "ann@example.com, eve@example.com",
    "ann@exa mple.com",
    "550@example.com",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_address_that_takes_no_mail_stops_nobody_else_and_is_not_tried_again(
    maya: Any, server: MailServer, address: str
) -> None:
    user = get_user_model().objects.create_user("first")
    account = broken_account(user)
    broken_account(maya)
    type(user).objects.filter(pk=user.pk).update(email=address)
    assert notices.send_due_notices() == 1
    assert is_told(account)
    let_pauses_pass()
    assert notices.send_due_notices() == 0
    assert server.recipients == ["maya@example.com"]


@pytest.mark.parametrize(
    "name", ["450", "spam", "drop"], ids=["mailbox is full", "text is refused", "server goes away"]
)
def test_message_that_fails_for_one_person_stops_nobody_else_and_is_tried_later(
    maya: Any, server: MailServer, name: str
) -> None:
    failing = account_of(f"{name}@example.com")
    broken_account(maya)
    assert notices.send_due_notices() == 1
    assert server.recipients == ["maya@example.com"]
    assert not is_told(failing)
    assert NoticeMemory.load().waiting() == [str(failing.uid)]
    get_user_model().objects.filter(ontraport_accounts=failing).update(email="ann@example.com")
    assert notices.send_due_notices() == 0
    let_pauses_pass()
    assert notices.send_due_notices() == 1
    assert server.recipients == ["maya@example.com", "ann@example.com"]


def test_many_failing_people_do_not_crowd_out_the_others(maya: Any, server: MailServer) -> None:
    for number in range(notices.MAX_SENT + 1):
        broken_account(
            get_user_model().objects.create_user(f"{number}", email=f"450@host{number}.example.com"), LONG_AGO
        )
    broken_account(maya, LONG_AGO)
    assert notices.send_due_notices() == 1
    assert server.recipients == ["maya@example.com"]


def test_person_who_keeps_failing_is_tried_ever_more_rarely_and_given_up_after_the_window(server: MailServer) -> None:
    account = account_of("450@example.com")
    pauses = []
    for _ in range(9):
        notices.send_due_notices()
        memory = NoticeMemory.load()
        (failures, at) = memory.retries[str(account.uid)]
        pauses.append(round((at - memory.now) / 60))
        assert failures == len(pauses)
        let_pauses_pass()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    move_back(days=3)
    with override_settings(**mailer("locmem")):
        assert notices.send_due_notices() == 0


def test_failures_of_people_who_were_reconnected_are_forgotten(maya: Any, server: MailServer) -> None:
    account_of("450@example.com")
    notices.send_due_notices()
    OntraportAccount.objects.all().delete()
    broken_account(maya)
    notices.send_due_notices()
    assert NoticeMemory.load().retries == {}


def test_number_of_remembered_failures_is_bounded(maya: Any) -> None:
    memory = NoticeMemory.load()
    memory.retries = {str(number): (1, 0.0) for number in range(notice_memory.MAX_RETRIES)}
    memory.put_off(broken_account(maya).uid)
    assert len(memory.retries) == notice_memory.MAX_RETRIES


@pytest.mark.parametrize("name", ["550", "450"])
def test_refused_sender_is_tried_again_and_forgets_nobody(maya: Any, server: MailServer, name: str) -> None:
    account = broken_account(maya)
    with override_settings(DEFAULT_FROM_EMAIL=f"{name}@shop.example.com"):
        assert notices.send_due_notices() == 0
    assert not is_told(account)
    let_pauses_pass()
    assert notices.send_due_notices() == 1


def test_sender_that_no_mail_can_be_made_from_is_tried_again_and_forgets_nobody(
    maya: Any, caplog: pytest.LogCaptureFixture
) -> None:
    account = broken_account(maya)
    with override_settings(DEFAULT_FROM_EMAIL="not\nan address"):
        assert notices.send_due_notices() == 0
    assert (is_told(account), "could not be sent" in caplog.text) == (False, True)
    let_pauses_pass()
    assert notices.send_due_notices() == 1


def test_mail_server_that_is_away_for_longer_than_the_window_makes_nobody_forgotten() -> None:
    accounts = [broken_account(person) for person in people(5)]
    for _ in range(4):
        with override_settings(**mailer("smtp", host="127.0.0.1", port=free_port())):
            assert notices.send_due_notices() == 0
        move_back(days=1)
    assert notices.send_due_notices() == 5
    assert all(map(is_told, accounts))


def test_mail_server_that_is_away_is_left_alone_for_a_while() -> None:
    for person in people(notices.MAX_FAILURES + 2):
        broken_account(person)
    pauses = []
    for _ in range(3):
        with override_settings(**mailer("smtp", host="127.0.0.1", port=free_port())):
            assert notices.send_due_notices() == 0
        memory = NoticeMemory.load()
        assert len(memory.waiting()) == notices.MAX_FAILURES
        assert notices.send_due_notices() == 0
        pauses.append(round((memory.next_round - memory.now) / 60))
        let_pauses_pass()
    assert pauses == [1, 2, 4]
    assert notices.send_due_notices() == 5


def test_round_after_one_that_served_somebody_begins_at_once(server: MailServer) -> None:
    for person in people(notices.MAX_SENT + 1):
        broken_account(person, LONG_AGO)
    assert [notices.send_due_notices(), notices.send_due_notices()] == [notices.MAX_SENT, 1]


def test_silent_mail_server_ends_the_round_in_time(maya: Any) -> None:
    """Django's backend has no timeout unless ``EMAIL_TIMEOUT`` is set."""
    accounts = [broken_account(person) for person in [maya, *people(4)]]
    started = time.monotonic()
    with silent_server() as settings, override_settings(**settings):
        assert notices.send_due_notices(seconds=0.1) == 0
    assert time.monotonic() - started < 5
    assert not any(map(is_told, accounts))


def test_one_round_runs_at_a_time(maya: Any) -> None:
    """Slow mail must not take every worker: a second round does not begin while the first lasts."""
    broken_account(maya)
    memory = NoticeMemory.load()
    memory.next_round = memory.now + notice_memory.LONGEST_ROUND
    assert memory.save()
    assert notices.send_due_notices() == 0
    move_back(days=0.01)
    assert notices.send_due_notices() == 1


class Overtaken:
    """Another process begins a round just before this one does."""

    done = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith('UPDATE "ontraport_connect_ontraportbudget"') and not self.done:
            self.done = True
            assert NoticeMemory.load().save()
        return execute(sql, params, many, context)


def test_of_two_rounds_that_begin_together_one_runs(maya: Any) -> None:
    broken_account(maya)
    with connection.execute_wrapper(Overtaken()):
        assert notices.send_due_notices() == 0
    assert notices.send_due_notices() == 1


class Interrupted(BaseEmailBackend):
    """A mail backend in whose work the process is told to end."""

    def send_messages(self, email_messages: Any) -> int:
        raise SystemExit(143)


def test_person_whose_mail_was_interrupted_is_told_later(maya: Any) -> None:
    account = broken_account(maya)
    with override_settings(**mailer(f"{__name__}.Interrupted")), pytest.raises(SystemExit):
        notices.send_due_notices()
    assert not is_told(account)
    assert notices.send_due_notices() == 1
    assert len(mail.outbox) == 1


def test_task_has_a_limit_above_that_of_a_round() -> None:
    task: Any = tasks.send_notices
    longest = 1.5 * tasks.NOTICES * notice_rounds.LONGEST
    assert longest < task.soft_time_limit < task.time_limit < notice_memory.LONGEST_ROUND


def test_grace_and_window_are_days_apart() -> None:
    assert timedelta(0) < notices.GRACE < notices.LONGEST_SILENCE < notices.WINDOW
