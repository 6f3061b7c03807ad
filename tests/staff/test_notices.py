"""People are told by e-mail, once, that a link of theirs needs them; nobody is in a storm."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import django
import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.exceptions import ReconnectRequired
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from ontraport_connect.refreshing import one_account
from ontraport_connect.staff import notices
from tests.support import ontraport
from tests.support.servers import Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)


def mailer(backend: str, **options: Any) -> dict[str, Any]:
    """The settings of a mail server, as this version of Django has them."""
    path = f"django.core.mail.backends.{backend}.EmailBackend"
    if django.VERSION >= (6, 1):
        return {"MAILERS": {"default": {"BACKEND": path, "OPTIONS": options}}}
    return {"EMAIL_BACKEND": path, **{f"EMAIL_{name.upper()}": value for name, value in options.items()}}


REDIRECT_URI = "https://shop.example.com/ontraport/callback/"


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    with override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=REDIRECT_URI, **mailer("locmem")):
        yield


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya", email="maya@example.com")


def broken_account(user: Any, ago: timedelta = timedelta(minutes=10), **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(
        user=user,
        status=Status.NEEDS_RECONNECT,
        linked_at=timezone.now() - timedelta(days=30),
        **{"label": "Harbour Street Coffee", **values},
    )
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT)
    OntraportEvent.objects.filter(account=account).update(at=timezone.now() - ago)
    return account


def test_person_is_told_once_with_a_link_that_leads_to_the_account(maya: Any) -> None:
    account = broken_account(maya)
    assert [notices.send_due_notices(), notices.send_due_notices()] == [1, 0]
    (message,) = mail.outbox
    assert message.to == ["maya@example.com"]
    assert message.subject == "Harbour Street Coffee needs you to reconnect"
    assert f"https://shop.example.com/ontraport/connect/?account={account.uid}\n" in message.body
    assert message.body.startswith("Hello maya,\n")


def test_names_are_written_as_they_are_and_make_no_header(maya: Any) -> None:
    broken_account(maya, label='R&D "Tea"\nBcc: everybody@example.com')
    notices.send_due_notices()
    assert mail.outbox[0].subject == 'R&D "Tea" Bcc: everybody@example.com needs you to reconnect'
    assert mail.outbox[0].recipients() == ["maya@example.com"]


@override_settings(LANGUAGE_CODE="de")
def test_language_is_that_of_the_site(maya: Any) -> None:
    broken_account(maya)
    notices.send_due_notices()
    assert mail.outbox[0].subject == "Harbour Street Coffee muss neu verbunden werden"


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


def test_who_cannot_be_told_is_not(maya: Any) -> None:
    broken_account(get_user_model().objects.create_user("no-address"))
    broken_account(get_user_model().objects.create_user("left", email="left@example.com", is_active=False))
    broken_account(None, tenant="acme")
    notices.send_due_notices()
    assert mail.outbox == []


def test_nobody_is_told_in_a_storm_and_those_who_still_wait_are_when_it_is_over(
    maya: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(notices.STORM + 5):
        broken_account(maya)
    assert notices.send_due_notices() == 0
    assert "held back" in caplog.text
    OntraportEvent.objects.update(at=timezone.now() - timedelta(hours=2))
    OntraportAccount.objects.filter(pk=OntraportAccount.objects.all()[0].pk).update(status=Status.CONNECTED)
    assert [notices.send_due_notices(), notices.send_due_notices(), notices.send_due_notices()] == [20, 4, 0]


def test_mail_server_that_is_away_is_tried_again(maya: Any) -> None:
    broken_account(maya)
    broken_account(maya)
    with override_settings(**mailer("smtp", host="127.0.0.1", port=free_port())):
        assert notices.send_due_notices() == 0
    assert notices.send_due_notices() == 2


class Conversation(socketserver.StreamRequestHandler):
    """A mail server that answers as the first part of an address says, and accepts everybody else."""

    def handle(self) -> None:
        self.say("220 here")
        for line in self.rfile:
            said = line.decode().strip()
            if said.upper().startswith("RCPT"):
                code = said.partition("<")[2].partition("@")[0]
                self.say(f"{code} no" if code.isdigit() else "250 yes")
            elif said.upper() == "DATA":
                self.say("354 go on")
                text = "".join(iter(lambda: self.rfile.readline().decode(), ".\r\n"))
                self.say("554 no" if "To: spam@" in text else "250 yes")
            else:
                self.say("250 yes")

    def say(self, answer: str) -> None:
        self.wfile.write(f"{answer}\r\n".encode())


@pytest.fixture
def mail_server() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "rounds"), [("550", [2, 0]), ("450", [1, 0]), ("spam", [1, 0])], ids=["nobody", "later", "text"]
)
def test_message_that_is_refused_holds_nobody_else_up(
    maya: Any, mail_server: int, name: str, rounds: list[int]
) -> None:
    refused = broken_account(get_user_model().objects.create_user("first", email=f"{name}@example.com"))
    accepted = broken_account(maya)
    with override_settings(**mailer("smtp", host="127.0.0.1", port=mail_server)):
        assert [notices.send_due_notices(), notices.send_due_notices()] == rounds
    told = set(OntraportAccount.objects.exclude(notified_at=None))
    assert told == ({accepted, refused} if name == "550" else {accepted})


def test_one_link_that_ends_again_and_again_is_no_storm(maya: Any) -> None:
    account = broken_account(maya)
    for _ in range(notices.STORM):
        OntraportEvent.record(account, EventKind.NEEDS_RECONNECT)
    assert notices.send_due_notices() == 1


def test_mistake_of_the_operator_leaves_the_person_to_be_told(maya: Any) -> None:
    broken_account(maya)
    with override_settings(DEFAULT_FROM_EMAIL="not\nan address"), pytest.raises(ValueError, match=r"(?i)header"):
        notices.send_due_notices()
    assert notices.send_due_notices() == 1


class Snatched:
    """Another process that tells everybody just before this one claims."""

    done = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and not self.done:
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
