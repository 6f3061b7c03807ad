"""Rounds of e-mails about changes: addresses and servers that fail, rounds that overlap, and transactions that take long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.db.models import F
from django.test import override_settings

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent
from ontraport_connect.staff import change_memory, change_notices, notices
from ontraport_connect.staff.change_memory import ChangeMemory
from ontraport_connect.using import DatabaseStore
from tests.support.changes import let_pauses_pass
from tests.support.mail_server import mailer
from tests.support.notices import REDIRECT_URI, people

pytestmark = pytest.mark.django_db(transaction=True)


def fail(_address: str) -> None:
    raise ConnectionError


class Scripted(BaseEmailBackend):
    """Does what ``answer`` says of an address before it takes the message."""

    answer: Callable[[str], None]
    tried: list[str]

    def send_messages(self, email_messages: Any) -> int:
        (address,) = email_messages[0].to
        self.tried.append(address)
        type(self).answer(address)
        mail.outbox.extend(email_messages)
        return 1


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Scripted, "tried", [], raising=False)
    monkeypatch.setattr(Scripted, "answer", lambda _address: None, raising=False)
    settings = {"ONTRAPORT_NOTIFY": True, "ONTRAPORT_REDIRECT_URI": REDIRECT_URI, **mailer(f"{__name__}.Scripted")}
    with override_settings(**settings):
        assert change_notices.send_change_notices() == 0
        mail.outbox = []
        yield


def user(name: str) -> Any:
    return get_user_model().objects.create_user(name, email=f"{name}@example.com")


def linked(user: Any) -> OntraportEvent:
    account = OntraportAccount.objects.create(user=user)
    OntraportEvent.record(account, EventKind.LINKED)
    event = OntraportEvent.objects.get(account=account)
    OntraportEvent.objects.filter(pk=event.pk).update(at=F("at") - timedelta(minutes=5))
    return event


def told() -> list[str]:
    """Return the addresses that a round writes to."""
    mail.outbox.clear()
    change_notices.send_change_notices()
    return [message.to[0] for message in mail.outbox]


def failing(*names: str, error: BaseException | None = None) -> Callable[[str], None]:
    def answer(address: str) -> None:
        if address.partition("@")[0] in names:
            raise error or ConnectionError

    return answer


def test_one_address_delays_its_own_e_mails_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "answer", failing("mallory"))
    mallory = user("mallory")
    for _ in range(change_notices.MOST - 1):
        linked(mallory)
    linked(user("maya"))
    assert told() == ["maya@example.com"]
    assert Scripted.tried == ["mallory@example.com", "maya@example.com"]


def test_an_e_mail_that_keeps_failing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Scripted, "answer", failing("mallory"))
    linked(user("mallory"))
    pauses = []
    for _ in range(5):
        assert told() == []
        memory = ChangeMemory.load()
        pauses += [round(at - memory.now, -1) for _tries, at in memory.again.values()]
        let_pauses_pass()
    assert pauses == list(change_memory.PAUSES)
    assert "too much failed" in caplog.text
    told()
    assert len(Scripted.tried) == 5


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (SMTPDataError(451, b"later"), 2),
        (SMTPDataError(554, b"spam"), 1),
        (SMTPRecipientsRefused({"mallory": (450, b"full")}), 2),
        (SMTPRecipientsRefused({"mallory": (550, b"no")}), 1),
    ],
    ids=["message, for now", "message", "address, for now", "address"],
)
def test_what_is_refused_for_now_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int) -> None:
    monkeypatch.setattr(Scripted, "answer", failing("mallory", error=error))
    linked(user("mallory"))
    assert [told(), told()] == [[], []]
    assert len(Scripted.tried) == tries


def test_a_server_that_is_away_is_tried_for_three_people_a_round_and_nobody_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Scripted, "answer", fail)
    everybody = people(7)
    for person in everybody:
        linked(person)
    for number in range(1, 8):
        assert told() == []
        assert len(Scripted.tried) == number * notices.MAX_FAILURES
    monkeypatch.setattr(Scripted, "answer", lambda _address: None)
    assert sorted(told()) == [f"person{number}@example.com" for number in range(7)]
    assert told() == []


def test_six_bad_addresses_silence_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"mallory{number}" for number in range(6)]
    monkeypatch.setattr(Scripted, "answer", failing(*names))
    for name in [*names, "maya"]:
        linked(user(name))
    assert [told(), told(), told()] == [[], [], ["maya@example.com"]]


def test_further_e_mails_of_who_failed_wait_when_the_round_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "answer", fail)
    bad = people(3)
    events = [linked(person) for person in [*bad, bad[0]]]
    told()
    assert list(ChangeMemory.load().again) == [event.pk for event in events]


def test_a_round_that_fails_takes_nothing_back_from_one_that_ended_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    maya, tomas = user("maya"), user("tomas")
    linked(maya)

    def hang(address: str) -> None:
        if len(Scripted.tried) == 1:
            linked(tomas)
            assert change_notices.send_change_notices() == 1
            raise TimeoutError

    monkeypatch.setattr(Scripted, "answer", hang)
    assert told() == ["tomas@example.com"]
    assert [told(), told()] == [["maya@example.com"], []]


def test_an_event_that_is_committed_late_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is lower than those that were told before its transaction ended."""
    late = linked(user("maya"))
    fields = {field.attname: getattr(late, field.attname) for field in late._meta.concrete_fields}
    fields["at"] -= timedelta(minutes=5)
    late.delete()
    linked(user("tomas"))
    assert told() == ["tomas@example.com"]
    OntraportEvent.objects.create(**fields)
    assert [told(), told()] == [["maya@example.com"], []]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(change_memory, "MAX_DONE", 2)
    monkeypatch.setattr(change_memory, "MAX_AGAIN", 0)
    events = [linked(person) for person in people(4)]
    assert len(told()) == 4
    memory = ChangeMemory.load()
    assert (memory.after, memory.done) == (events[1].pk, [events[2].pk, events[3].pk])
    assert not memory.give_back(events[0].pk, None)
    monkeypatch.setattr(Scripted, "answer", fail)
    linked(user("maya"))
    assert [told(), told()] == [[], []]
    assert "too much failed" in caplog.text


def test_who_is_told_to_end_leaves_the_rest_for_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "answer", failing("person1", error=SystemExit(143)))
    for person in people(3):
        linked(person)
    with pytest.raises(SystemExit):
        change_notices.send_change_notices()
    monkeypatch.setattr(Scripted, "answer", lambda _address: None)
    assert told() == ["person1@example.com", "person2@example.com"]


class Overtaken:
    """Another round saves just before this one does, at the ``number``-th time that it does."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and "budget" in sql:
            self.left -= 1
            if not self.left:
                assert ChangeMemory.load().save()
        return execute(sql, params, many, context)


@pytest.mark.parametrize(("number", "first", "second"), [(1, 0, 1), (2, 1, 0)], ids=["begins", "ends"])
def test_of_two_rounds_at_once_one_tells(number: int, first: int, second: int) -> None:
    linked(user("maya"))
    with connection.execute_wrapper(Overtaken(number)):
        assert len(told()) == first
    assert len(told()) == second


def test_memory_of_a_former_version_is_read() -> None:
    event = linked(user("maya"))
    DatabaseStore().replace(change_memory.KEY, ChangeMemory.load().held, f'{{"after": {event.pk}}}')
    assert told() == []
