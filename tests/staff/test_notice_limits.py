"""Whatever a mail backend does, the e-mails of a round come to an end, and whoever was not reached is told later."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.db.models import F
from django.test import override_settings

from ontraport_connect import staff, tasks
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent
from ontraport_connect.staff import change_notices, notices
from ontraport_connect.staff.notice_memory import NoticeMemory
from ontraport_connect.staff.time_limits import time_limit
from tests.support.accounts import linked
from tests.support.changes import let_pauses_pass as let_changes_wait_no_more
from tests.support.mail_server import dripping_server, mailer
from tests.support.notices import REDIRECT_URI, broken_account, let_pauses_pass, people
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    with override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=REDIRECT_URI, **mailer("locmem")):
        yield


class Silent(BaseEmailBackend):
    """Waits for an answer that never comes, and takes what interrupts that for trouble with the network."""

    def send_messages(self, email_messages: Any) -> int:
        for _ in range(3):
            with suppress(Exception):
                threading.Event().wait(20)
        return 0


class Closing(BaseEmailBackend):
    """Waits again while it closes its connection, as SMTP's QUIT does."""

    def send_messages(self, email_messages: Any) -> int:
        try:
            threading.Event().wait(20)
        finally:
            threading.Event().wait(20)
            raise RuntimeError("It was waited for.")


class Told(BaseEmailBackend):
    """A mail backend in whose work the soft time limit of Celery's comes."""

    def send_messages(self, email_messages: Any) -> int:
        raise SoftTimeLimitExceeded


@pytest.fixture(params=["Silent", "Closing", "drips"])
def hanging(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The settings of a mail backend that never comes back."""
    if request.param == "drips":
        with dripping_server() as settings:
            yield settings
    else:
        yield mailer(f"{__name__}.{request.param}")


def one_of_each_kind() -> OntraportAccount:
    """A link that ended, which is returned, and one that was made: of both, somebody is to be told."""
    one, other = people(2)
    change_notices.send_change_notices()  # notes where the history ends
    ended = broken_account(one)
    OntraportEvent.record(linked("one", user=other), EventKind.LINKED)
    OntraportEvent.objects.filter(kind=EventKind.LINKED).update(at=F("at") - timedelta(minutes=2))
    return ended


def is_told(account: OntraportAccount) -> bool:
    return OntraportAccount.objects.get(pk=account.pk).notified_at is not None


@pytest.mark.parametrize("backend", ["Silent", "Closing"])
def test_both_kinds_end_and_both_people_are_told_later(backend: str) -> None:
    ended = one_of_each_kind()
    with override_settings(**mailer(f"{__name__}.{backend}")):
        assert staff.send_notices(0.2) == 0
    assert not is_told(ended)
    assert NoticeMemory.load().is_paused, "a mail server that answers nobody is left alone for a while"
    let_pauses_pass()
    let_changes_wait_no_more()
    assert staff.send_notices(20) == 2
    assert {message.to[0] for message in mail.outbox} == {"person0@example.com", "person1@example.com"}


def test_cron_ends_with_both_kinds_due(
    strict: StrictServer, child_environ: Callable[..., dict[str, str]], hanging: dict[str, Any]
) -> None:
    ended = one_of_each_kind()
    settings = {**strict.settings, "ONTRAPORT_NOTIFY": True, "ONTRAPORT_REDIRECT_URI": REDIRECT_URI, **hanging}
    program = (
        "import django; django.setup();"
        " from django.core.management import call_command; from ontraport_connect.management.subcommands import refresh;"
        " refresh.NOTICES = 0.5; call_command('ontraport', 'refresh', '--all')"
    )
    subprocess.run([sys.executable, "-c", program], env=child_environ(**settings), check=True, timeout=60)
    assert not is_told(ended)


def test_what_was_not_reached_counts_no_attempt_while_the_backend_is_silent() -> None:
    """Else people would not be told at all after an outage of some hours."""
    one_of_each_kind()
    with override_settings(**mailer(f"{__name__}.Silent")):
        for _ in range(7):
            let_changes_wait_no_more()
            with pytest.raises(TimeoutError), time_limit(0.1):
                change_notices.send_change_notices()
    let_changes_wait_no_more()
    assert change_notices.send_change_notices() == 1


@pytest.mark.parametrize("send", [notices.send_due_notices, change_notices.send_change_notices])
def test_soft_time_limit_of_the_task_ends_it(send: Callable[[], int]) -> None:
    ended = one_of_each_kind()
    with override_settings(**mailer(f"{__name__}.Told")), pytest.raises(SoftTimeLimitExceeded):
        send()
    assert not is_told(ended)
    assert tasks.send_notices() == 2


def test_limit_that_ends_in_the_database_ends_the_round() -> None:
    class Slow:
        def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith("UPDATE"):
                threading.Event().wait(5)
            return execute(sql, params, many, context)

    one_of_each_kind()
    with connection.execute_wrapper(Slow()):
        assert staff.send_notices(0.1) == 0


def test_limit_is_no_exception_that_a_backend_swallows() -> None:
    with override_settings(**mailer(f"{__name__}.Silent")), pytest.raises(TimeoutError), time_limit(0.05):
        mail.send_mail("subject", "text", None, ["maya@example.com"])


def test_limit_comes_again_for_what_goes_on_waiting() -> None:
    with override_settings(**mailer(f"{__name__}.Closing")), pytest.raises(TimeoutError), time_limit(0.05):
        mail.send_mail("subject", "text", None, ["maya@example.com"])


def test_limit_is_lifted_after_the_block_and_is_none_in_other_threads() -> None:
    with time_limit(100):
        late: Any = signal.getsignal(signal.SIGALRM)
    late(signal.SIGALRM, None)  # interrupts nothing any more
    done = []

    def work() -> None:
        with time_limit(0.05):
            done.append(threading.Event().wait(0.1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]
