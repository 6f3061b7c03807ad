"""E-mail people once when a link of theirs needs them.

No mail server may hold up a refresh: notices have a task of their own, one round runs at a time, and every wait in it is bounded. What
fails for one address is tried again later and delays nobody else, whatever the number of its links: it has one attempt a round, and those
who have not failed before come first. When the mail server fails for three addresses in a row, the round ends.

In a storm, when the links of many owners end within an hour, the cause is hardly theirs: people are told when it is over, or after a day.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from smtplib import SMTPDataError
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, Q, Value, When

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import (
    SECRET_FIELDS,
    EventKind,
    Now,
    OntraportAccount,
    OntraportEvent,
    Status,
    owner_is_active,
    with_users,
)

from . import notice_messages
from .notice_memory import LONGEST_ROUND, NoticeMemory, pause_after
from .notice_messages import RecipientRefused
from .recipients import address_of, may_reconnect
from .time_limits import TimeIsUp

logger = logging.getLogger("ontraport_connect")

GRACE = timedelta(minutes=5)
"""How long a link must have ended: the person may be reconnecting already, and a storm takes time to show."""

WINDOW = timedelta(days=3)
"""People are told within this time or not at all: switching notices on must not dig up the past. Time on hold does not count."""

STORM = 20
"""The links of this many owners ending within an hour are a storm."""

LONGEST_SILENCE = timedelta(days=1)
"""A storm delays a notice by this much at most, so that nobody can silence the notices for good by breaking links of their own."""

MAX_SENT = 20
"""The most e-mails a round sends."""

MAX_TRIED = 200
"""The most people a round looks at."""

MAX_FAILURES = 3
"""Addresses in a row for which the mail server failed, after which it is left alone."""

TIMEOUT = 10.0
"""Seconds that a mail server has for each answer."""

RUN = 30.0
"""Seconds after which a round begins no further e-mail."""


def is_storm() -> bool:
    """Tell whether the links of so many owners ended within the last hour that notices are held back."""
    ended = OntraportEvent.objects.using(alias()).filter(
        kind=EventKind.NEEDS_RECONNECT, at__gt=Now() - Value(timedelta(hours=1))
    )
    owners = ended.order_by().annotate(person=Case(When(tenant="", then=F("user_id")))).values("tenant", "person")
    return owners.distinct().count() >= STORM


def send_due_notices(seconds: float = RUN) -> int:
    """Send the notices that are due, and return how many were sent. No e-mail is begun after ``seconds``, and none is sent in a copy of
    another installation's database.
    """
    if not (conf.ONTRAPORT_NOTIFY and conf.ONTRAPORT_REDIRECT_URI) or not refreshing.is_own_database():
        return 0
    memory = NoticeMemory.load()
    if memory.is_paused:
        return 0
    due = _due(memory)
    if not due.exists():
        return 0
    memory.keep_only(due.filter(uid__in=list(memory.retries)).values_list("uid", flat=True))
    if is_storm():
        logger.warning("Many Ontraport links ended within an hour; the e-mails to their people are held back.")
        memory.hold(WINDOW)
        due = due.filter(Exists(_ended(before=LONGEST_SILENCE)))
    memory.next_round = memory.now + LONGEST_ROUND
    if not memory.save():
        return 0
    round_ = _Round(NoticeMemory.load(), conf.ONTRAPORT_REDIRECT_URI, seconds)
    try:
        round_.run(islice(_in_turn(due, round_.memory), MAX_TRIED))
    finally:
        round_.end()
    return round_.sent


def _ended(before: timedelta = GRACE) -> Any:
    events = OntraportEvent.objects.filter(account=OuterRef("pk"), kind=EventKind.NEEDS_RECONNECT)
    return events.filter(at__lte=Now() - Value(before))


def _due(memory: NoticeMemory) -> Any:
    rows = (
        OntraportAccount.objects.using(alias())
        .defer(*SECRET_FIELDS)
        .filter(
            _untold(),
            Exists(_ended().filter(at__gte=memory.oldest(WINDOW))),
            status=Status.NEEDS_RECONNECT,
        )
    )
    return with_users(rows.filter(owner_is_active(rows)))


def _in_turn(due: Any, memory: NoticeMemory) -> Iterator[OntraportAccount]:
    """Those who have not failed before come first: what fails again and again is tried last."""
    ready = memory.ready()[:MAX_TRIED]
    yield from due.exclude(uid__in=list(memory.retries)).order_by("pk")[:MAX_TRIED]
    found = {str(account.uid): account for account in due.filter(uid__in=ready)}
    yield from (found[uid] for uid in ready if uid in found)


def _untold() -> Q:
    return Q(notified_at=None) | Q(notified_at__lt=F("linked_at"))


class _Round:
    def __init__(self, memory: NoticeMemory, redirect_uri: str, seconds: float) -> None:
        self.memory = memory
        self.redirect_uri = redirect_uri
        self.stop_at = time.monotonic() + seconds
        self.sent = 0
        self.failures = 0
        self.refused = 0
        self.failed: set[str] = set()
        self.is_server_failing = False

    def run(self, accounts: Iterable[OntraportAccount]) -> None:
        for account in accounts:
            if self.sent >= MAX_SENT or self.failures >= MAX_FAILURES or time.monotonic() > self.stop_at:
                return
            address = address_of(account.user)
            if address.lower() in self.failed or not may_reconnect(account, self.redirect_uri):
                self.memory.put_off(account.uid)
            elif _claim(account):
                try:
                    self.tell(account, address)
                except TimeIsUp as error:
                    self.note_silence(account, address, error)
                    raise
                except BaseException:  # told to end
                    _put_back(account)
                    raise

    def tell(self, account: OntraportAccount, address: str) -> None:
        """Write to one person. Where the claim stays although nothing was sent, the person is told on the pages only."""
        if not address:
            return
        try:
            timeout = min(TIMEOUT, max(1.0, self.stop_at - time.monotonic()))
            notice_messages.send(account, address, self.redirect_uri, timeout)
        except RecipientRefused as refused:
            if refused.is_permanent:
                logger.warning(
                    "The address of account %s's person was refused; they are told on the pages only.", account.uid
                )
            else:
                self.try_later(account, address, refused)
        except SMTPDataError as refused:  # it is about this message, unless it is said to everybody
            self.refused += 1
            self.try_later(account, address, refused)
        except Exception as error:  # backends of other packages raise what they like
            if refreshing.is_interruption(error):
                raise
            self.failures += 1
            self.is_server_failing = True
            self.try_later(account, address, error)
        else:
            self.failures = 0
            self.sent += 1

    def note_silence(self, account: OntraportAccount, address: str, error: BaseException) -> None:
        """Note that the mail server did not come back. Where it has served nobody, that counts like as many failures as end a round."""
        self.failures = self.failures if self.sent else MAX_FAILURES
        self.is_server_failing = True
        self.try_later(account, address, error)

    def try_later(self, account: OntraportAccount, address: str, error: BaseException) -> None:
        self.failed.add(address.lower())
        _put_back(account)
        self.memory.put_off(account.uid)
        logger.warning("An e-mail about account %s could not be sent: %s", account.uid, type(error).__name__)

    def end(self) -> None:
        """Let the next round begin at once, or after a pause when the mail server did not serve this one."""
        is_down = self.failures >= MAX_FAILURES
        self.memory.failed_rounds = self.memory.failed_rounds + 1 if is_down else 0
        self.memory.next_round = self.memory.now + pause_after(self.memory.failed_rounds) if is_down else 0.0
        if not self.sent and (self.is_server_failing or self.refused >= MAX_FAILURES):
            self.memory.hold(WINDOW)
        self.memory.save()


def _claim(account: OntraportAccount) -> bool:
    """Win the right to tell; of two processes one does."""
    row = OntraportAccount.objects.using(alias()).filter(_untold(), pk=account.pk, status=Status.NEEDS_RECONNECT)
    claimed = 0
    with refreshing.left_if_locked(f"account {account.uid}"):
        claimed = row.update(notified_at=Now())
    return bool(claimed)


def _put_back(account: OntraportAccount) -> None:
    with refreshing.left_if_locked(f"account {account.uid}"):
        OntraportAccount.objects.using(alias()).filter(pk=account.pk).update(notified_at=account.notified_at)
