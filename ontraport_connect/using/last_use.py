"""Notes when an account was last used, at most once an hour. An account that was idle is refreshed as often as others from then on."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Least
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias, has_one_writer, on_own_connection, row_lock, unavailable_while_away
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import Method, Now, OntraportAccount, Status

EVERY = timedelta(hours=1)


def note_use(account: OntraportAccount) -> None:
    """Note that ``account`` is used now, unless that was noted within an hour. It is no harm where it cannot be noted.

    A row that somebody else has locked is passed over, and inside a transaction another connection writes, so that nobody waits. The
    version of the row stays: whoever refreshes the account at this moment is not disturbed.
    """
    noted, now = vars(account).get("last_used_at"), timezone.now()
    if not account.pk or (noted is not None and now - noted < EVERY):
        return

    def write() -> None:
        with transaction.atomic(using=alias()):
            _write(account)

    with suppress(OntraportUnavailable), unavailable_while_away():
        write() if has_one_writer() else on_own_connection(write)
    account.last_used_at = now
    account.remember(["last_used_at"])


def _write(account: OntraportAccount) -> None:
    rows: Any = OntraportAccount.objects.using(alias()).filter(pk=account.pk)
    stale = Q(last_used_at=None) | Q(last_used_at__lt=refreshing.from_now(-EVERY.total_seconds()))
    free = rows.filter(stale).select_for_update(**row_lock()).order_by()
    values = {"last_used_at": Now(), **({"refresh_at": _usual_time()} if account.is_idle else {})}
    rows.filter(pk__in=free.values("pk")).update(**values)


def _usual_time() -> Case:
    """Return when the token of an account is refreshed that is not idle. One that backs off from a failure goes on doing so."""
    ahead = F("expires_at") - Value(timedelta(seconds=conf.ONTRAPORT_REFRESH_MARGIN))
    is_well = Q(method=Method.OAUTH, status=Status.CONNECTED, failures=0, expires_at__isnull=False)
    return Case(When(is_well, then=Least(F("refresh_at"), ahead)), default=F("refresh_at"))
