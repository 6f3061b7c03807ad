"""Tell people by e-mail, once, that a link of theirs needs them. Sent from a task of its own: no mail server may hold up a refresh.

Nobody is told in a storm: when many links end within an hour the cause is hardly theirs. Those that still need their people when it is
over are told then, a few a minute.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPSenderRefused
from typing import Any
from urllib.parse import urlencode, urljoin

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status

logger = logging.getLogger("ontraport_connect")

GRACE = timedelta(minutes=5)
"""How long a link has to have ended: the person may be reconnecting already, and a storm shows itself."""

OLDEST = timedelta(days=3)
"""Who was not told by then is not told any more: switching the e-mails on must not dig up the past."""

STORM = 20
"""As many links that ended within an hour, each counted once, are a storm."""

MOST_AT_ONCE = 20

PERMANENT = 500
"""A mail server's replies from here on are no better next time (RFC 5321, 4.2.1)."""


def is_storm() -> bool:
    """Tell whether so many links ended within the last hour that nobody is to be told now."""
    ended = OntraportEvent.objects.using(alias()).filter(
        kind=EventKind.NEEDS_RECONNECT, at__gt=Now() - Value(timedelta(hours=1))
    )
    return ended.order_by().values("account_uid").distinct().count() >= STORM


def send_due_notices() -> int:
    """Tell those who are to be told now, and return how many were: nobody in a copy of another installation's database."""
    if not (conf.ONTRAPORT_NOTIFY and conf.ONTRAPORT_REDIRECT_URI) or not refreshing.is_own_database():
        return 0
    waiting = list(_due().order_by("pk")[:MOST_AT_ONCE])
    if waiting and is_storm():
        logger.warning("Many Ontraport links ended within an hour; the e-mails to their people are held back.")
        return 0
    told = 0
    for account in waiting:
        if not _claim(account):
            continue
        try:
            _send(account, conf.ONTRAPORT_REDIRECT_URI)
        except Exception as error:
            _put_back(account)
            if not isinstance(error, OSError):  # SMTPException is one
                raise
            logger.warning("An e-mail about account %s could not be sent: %s", account.uid, type(error).__name__)
            if isinstance(error, SMTPRecipientsRefused | SMTPSenderRefused | SMTPDataError):
                continue
            break
        told += 1
    return told


def _due() -> Any:
    ended = OntraportEvent.objects.filter(
        account=OuterRef("pk"),
        kind=EventKind.NEEDS_RECONNECT,
        at__range=(Now() - Value(OLDEST), Now() - Value(GRACE)),
    )
    return (
        OntraportAccount.objects.using(alias())
        .select_related("user")
        .filter(_untold(), Exists(ended), status=Status.NEEDS_RECONNECT, user__is_active=True)
    )


def _untold() -> Q:
    return Q(notified_at=None) | Q(notified_at__lt=F("linked_at"))


def _claim(account: OntraportAccount) -> bool:
    """Win the right to tell; of two processes one does."""
    row = OntraportAccount.objects.using(alias()).filter(_untold(), pk=account.pk, status=Status.NEEDS_RECONNECT)
    return bool(row.update(notified_at=Now()))


def _put_back(account: OntraportAccount) -> None:
    OntraportAccount.objects.using(alias()).filter(pk=account.pk).update(notified_at=account.notified_at)


def _send(account: OntraportAccount, redirect_uri: str) -> None:
    """Write to the person in the site's language; a person without an address that is accepted is told on the pages only."""
    user: Any = account.user
    address = getattr(user, user.get_email_field_name(), "")
    if not address:
        return
    query = urlencode({"account": account.uid})
    context = {
        "account": account,
        "user": user,
        "site": urljoin(redirect_uri, "/"),
        "url": urljoin(redirect_uri, f"{reverse('ontraport_connect:connect')}?{query}"),
    }
    with translation.override(settings.LANGUAGE_CODE):
        subject = " ".join(render_to_string("ontraport_connect/notice_subject.txt", context).split())
        text = render_to_string("ontraport_connect/notice.txt", context)
    try:
        send_mail(subject, text, None, [address])
    except SMTPRecipientsRefused as refused:
        if any(code < PERMANENT for code, _said in refused.recipients.values()):
            raise
        logger.warning("The address of account %s's person was refused; they are told on the pages only.", account.uid)
