"""E-mail people when a link of theirs was made or removed, as it may have been somebody else.

The history is read from where the last round ended; ``change_memory`` says what is done. What fails for one person is tried again later
and stops nobody else; when the mail server fails for three people, the round ends and the next one goes on.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from smtplib import SMTPDataError

from django.db.models import Value

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.linking import beside
from ontraport_connect.models import EventKind, Method, Now, OntraportAccount, OntraportEvent, is_active, with_users

from . import notice_messages, notices
from .change_memory import ChangeMemory
from .notice_messages import CHANGED, RecipientRefused
from .recipients import address_of, may_reconnect
from .time_limits import TimeIsUp

logger = logging.getLogger("ontraport_connect")

KINDS = (EventKind.LINKED, EventKind.DISCONNECTED)

SETTLED = timedelta(minutes=1)
"""Age from which an event is read, so that most are told in their order."""

WINDOW = timedelta(days=1)
"""People are told within this time or not at all."""

MOST = 20
"""The most new events a round reads, and the most that failed before."""


def send_change_notices(seconds: float = notices.RUN) -> int:
    """Send the e-mails about links that were made or removed since the last round, and return how many were sent.

    The first round sends none: it notes where the history ends. No e-mail is begun after ``seconds``.
    """
    if not (conf.ONTRAPORT_NOTIFY_CHANGES and conf.ONTRAPORT_REDIRECT_URI) or not refreshing.is_own_database():
        return 0
    memory = ChangeMemory.load()
    settled = OntraportEvent.objects.using(alias()).filter(at__lte=Now() - Value(SETTLED)).order_by("pk")
    if memory.is_new:
        last = settled.last()
        memory.after = 0 if last is None else last.pk
        memory.save()
        return 0
    events = with_users(settled.filter(kind__in=KINDS, at__gt=Now() - Value(WINDOW)), "account")
    fresh = list(events.filter(pk__gt=memory.after).exclude(pk__in=memory.done)[:MOST])
    ready = memory.ready()[:MOST]
    tries = {pk: memory.again[pk][0] for pk in ready}
    again = sorted(events.filter(pk__in=ready), key=lambda event: ready.index(event.pk))
    memory.take([event.pk for event in fresh], ready)
    # Remembered before anything is sent: of two rounds at once, one sends.
    if not (fresh or ready) or not memory.save():
        return 0
    round_ = _Round([*fresh, *again], tries, conf.ONTRAPORT_REDIRECT_URI, seconds)
    try:
        round_.run()
    finally:
        ChangeMemory.change(round_.note)
    return round_.sent


class _Round:
    def __init__(self, events: list[OntraportEvent], tries: dict[int, int], redirect_uri: str, seconds: float) -> None:
        self.events = events
        self.tries = tries
        self.redirect_uri = redirect_uri
        self.stop_at = time.monotonic() + seconds
        self.sent = 0
        self.failed: list[OntraportEvent] = []
        self.unreached: set[str] = set()
        self.unserved: set[str] = set()
        self.is_silent = False

    def run(self) -> None:
        """Tell of the events, and leave those that were not tried."""
        while self.events and len(self.unserved) < notices.MAX_FAILURES and time.monotonic() <= self.stop_at:
            event = self.events[0]
            address = _address(event)
            if address.lower() in self.unreached:
                self.failed.append(event)
            elif address and may_reconnect(_account(event), self.redirect_uri):
                self.tell(event, address)
            self.events.pop(0)  # only now: one whose work is interrupted is tried again

    def tell(self, event: OntraportEvent, address: str) -> None:
        try:
            _send(event, address, self.redirect_uri, max(1.0, min(notices.TIMEOUT, self.stop_at - time.monotonic())))
        except TimeIsUp as error:
            self.is_silent = True
            self.try_later(event, address, error)
            raise
        except Exception as error:  # backends of other packages raise what they like
            if refreshing.is_interruption(error):
                raise
            if _is_final(error):
                logger.warning(
                    "An address or a message was refused; nobody is told of the change to account %s.",
                    event.account_uid,
                )
                return
            self.try_later(event, address, error)
        else:
            self.sent += 1

    def try_later(self, event: OntraportEvent, address: str, error: BaseException) -> None:
        logger.warning("An e-mail about account %s could not be sent: %s", event.account_uid, type(error).__name__)
        self.failed.append(event)
        self.unreached.add(address.lower())
        if not isinstance(error, RecipientRefused | SMTPDataError):
            self.unserved.add(address.lower())

    def note(self, memory: ChangeMemory) -> None:
        """Say in ``memory`` what became of the events. While the mail server serves nobody, attempts do not count."""
        is_down = not self.sent and (self.is_silent or len(self.unserved) >= notices.MAX_FAILURES)
        theirs = [event for event in self.events if _address(event).lower() in self.unreached]
        for event in [*self.failed, *self.events]:
            tries = self.tries.get(event.pk)
            if event in self.failed or event in theirs:
                is_kept = memory.try_again(event.pk, (tries or 0) + (not is_down))
            else:
                is_kept = memory.give_back(event.pk, tries)
            if not is_kept:
                logger.warning("Nobody is told of the change to account %s: too much failed.", event.account_uid)


def _is_final(error: Exception) -> bool:
    """Whether trying again is of no use."""
    if isinstance(error, SMTPDataError):
        return error.smtp_code >= notice_messages.PERMANENT
    return isinstance(error, RecipientRefused) and error.is_permanent


def _address(event: OntraportEvent) -> str:
    """Return the address of the person of a link; an empty string where they have left the site, or have none."""
    return address_of(event.user) if is_active(event.user) else ""


def _account(event: OntraportEvent) -> OntraportAccount:
    return event.account or OntraportAccount(user=event.user, tenant=event.tenant, ontraport_id=event.ontraport_id)


def _send(event: OntraportEvent, address: str, redirect_uri: str, timeout: float) -> None:
    account = _account(event)
    context = {"is_made": event.kind == EventKind.LINKED, "is_key": account.method == Method.API_KEY, "at": event.at}
    url = beside(redirect_uri, "accounts")
    notice_messages.deliver(CHANGED, account, address, url=url, context=context, timeout=timeout)
