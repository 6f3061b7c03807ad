"""E-mail people when a link of theirs was made or removed, as it may have been somebody else.

The history is read from where the last round ended, which is remembered in one row of ``OntraportBudget``. What fails for one address or
message is given up; what fails with the mail server is tried again in the next round, for a day.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import timedelta
from smtplib import SMTPDataError
from typing import Any

from django.db.models import Value

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.linking import beside
from ontraport_connect.models import EventKind, Method, Now, OntraportAccount, OntraportEvent, is_active, with_users
from ontraport_connect.using import DatabaseStore

from . import notice_messages, notices
from .notice_messages import CHANGED, RecipientRefused
from .recipients import may_reconnect

logger = logging.getLogger("ontraport_connect")

KEY = "change-notices"
KINDS = (EventKind.LINKED, EventKind.DISCONNECTED)

SETTLED = timedelta(minutes=1)
"""Age from which an event is read: by then those with a lower number have been committed, too."""

WINDOW = timedelta(days=1)
"""People are told within this time or not at all."""

MOST = 20
"""The most events a round reads."""


def send_change_notices(seconds: float = notices.RUN) -> int:
    """Send the e-mails about links that were made or removed since the last round, and return how many were sent.

    The first round sends none: it notes where the history ends. No e-mail is begun after ``seconds``.
    """
    if not (conf.ONTRAPORT_NOTIFY_CHANGES and conf.ONTRAPORT_REDIRECT_URI) or not refreshing.is_own_database():
        return 0
    held = DatabaseStore().load(KEY)
    events = OntraportEvent.objects.using(alias()).filter(at__lte=Now() - Value(SETTLED)).order_by("pk")
    if not held.state:
        last = events.last()
        _remember(held, 0 if last is None else last.pk)
        return 0
    fresh = events.filter(pk__gt=json.loads(held.state)["after"], kind__in=KINDS, at__gt=Now() - Value(WINDOW))
    found = list(with_users(fresh, "account")[:MOST])
    # Remembered before anything is sent: of two rounds at once, one sends.
    return _send(found, conf.ONTRAPORT_REDIRECT_URI, seconds) if found and _remember(held, found[-1].pk) else 0


def _remember(held: Any, after: int) -> bool:
    return DatabaseStore().replace(KEY, held, json.dumps({"after": after}))


def _send(events: list[OntraportEvent], redirect_uri: str, seconds: float) -> int:
    sent, stop_at = 0, time.monotonic() + seconds
    for event in events:
        try:
            if time.monotonic() > stop_at:
                raise TimeoutError
            sent += _tell(event, redirect_uri, max(1.0, min(notices.TIMEOUT, stop_at - time.monotonic())))
        except (RecipientRefused, SMTPDataError):
            logger.warning(
                "An address or a message was refused; nobody is told of the change to account %s.", event.account_uid
            )
        except Exception as error:  # noqa: BLE001  # backends of other packages raise what they like
            logger.warning("An e-mail about account %s could not be sent: %s", event.account_uid, type(error).__name__)
            _remember(DatabaseStore().load(KEY), event.pk - 1)
            return sent
    return sent


def _tell(event: OntraportEvent, redirect_uri: str, timeout: float) -> bool:
    """Write to the person of a link, unless they have left the site, or the tenant. Returns whether there was somebody to write to."""
    user: Any = event.user
    account = event.account or OntraportAccount(user=user, tenant=event.tenant, ontraport_id=event.ontraport_id)
    address = getattr(user, user.get_email_field_name(), "") if is_active(user) else ""
    if not address or not may_reconnect(account, redirect_uri):
        return False
    context = {"is_made": event.kind == EventKind.LINKED, "is_key": account.method == Method.API_KEY, "at": event.at}
    url = beside(redirect_uri, "accounts")
    notice_messages.deliver(CHANGED, account, address, url=url, context=context, timeout=timeout)
    return True
