"""Tell Ontraport of grants that this site has let go of, until it has heard (RFC 7009)."""

from __future__ import annotations

import logging
import random
import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Now
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone

from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, OntraportRevocation
from ontraport_connect.signals import account_disconnected

from . import client_settings, installation

logger = logging.getLogger("ontraport_connect")

KEEP_TRYING = timedelta(days=7)
LONGEST_PAUSE = 3600.0
RUN = 60.0
"""Seconds after which one run of the beat's task leaves the rest to the next, however slowly Ontraport answers."""


def queue_revocation(account: OntraportAccount, refresh_token: Secret, using: str | None = None) -> OntraportRevocation:
    """Keep a grant for revocation, encrypted, in the caller's transaction.

    Raises ``SecretUnreadable`` or ``OntraportMisconfigured`` before the database is asked for anything, so that the transaction goes on.
    """
    revocation = OntraportRevocation(account_uid=account.uid, client_id=account.client_id)
    column = OntraportRevocation._meta.get_field("refresh_token")
    setattr(revocation, column.attname, column.seal_for(revocation.uid, refresh_token))
    revocation.save(using=using or alias())
    return revocation


def deliver_revocation(revocation: OntraportRevocation) -> bool:
    """Tell Ontraport of one grant. Returns whether it heard; otherwise the row is kept for later, for a week at most.

    In a copy of another installation's database nothing is sent, and the row stays as it is.
    """
    if not installation.is_own_database():
        return False
    try:
        revoke_grant(revocation.client_id, revocation.refresh_token)
    except OntraportError as error:
        _put_off(revocation, error)
        return False
    OntraportRevocation.objects.using(alias()).filter(pk=revocation.pk).delete()
    return True


def revoke_grant(client_id: str, refresh_token: Secret) -> None:
    """Tell Ontraport at once, and keep nothing. Raises ``OntraportError``."""
    installation.require_own_database()
    with client_settings.new_transport() as transport:
        client_settings.oauth_client(client_id).revoke(transport, refresh_token)


def _put_off(revocation: OntraportRevocation, error: OntraportError) -> None:
    if revocation.created_at + KEEP_TRYING < timezone.now():
        logger.error("Gave up revoking the grant of account %s at Ontraport: %s", revocation.account_uid, error.code)
        OntraportRevocation.objects.using(alias()).filter(pk=revocation.pk).delete()
        return
    pause = random.uniform(1, min(LONGEST_PAUSE, 30 * 2 ** min(revocation.attempts, 10)))  # noqa: S311  # jitter, not a secret
    pause = max(pause, getattr(error, "retry_after", None) or 0)
    OntraportRevocation.objects.using(alias()).filter(pk=revocation.pk).update(
        attempts=F("attempts") + 1, try_at=Now() + Value(timedelta(seconds=pause))
    )


def deliver_revocations(limit: int, seconds: float = RUN) -> int:
    """Deliver up to ``limit`` revocations whose time has come, oldest first, and return how many Ontraport heard of."""
    stop_at = time.monotonic() + seconds
    rows = OntraportRevocation.objects.using(alias()).filter(try_at__lte=Now()).order_by("try_at")[:limit]
    return sum(deliver_revocation(row) for row in rows if time.monotonic() < stop_at)


@receiver(pre_delete, sender=OntraportAccount, dispatch_uid="ontraport_connect.refreshing.revoking")
def let_go(instance: OntraportAccount, using: str, **kwargs: Any) -> None:
    """Whatever deletes an account, its user, an admin, a queryset: what the row holds now is revoked, and its end is recorded."""
    current = OntraportAccount.objects.using(using).select_for_update().filter(pk=instance.pk).first()
    if current is None:
        return
    detail = ""
    grant = current.refresh_token or current.access_token if current.method == Method.OAUTH else None
    if grant is not None:
        try:
            installation.require_own_database(using)  # a copy's grants are the original's, and not to be revoked here
            queue_revocation(current, grant, using)
        except OntraportMisconfigured as error:
            detail = error.code
    OntraportEvent.record(current, EventKind.DISCONNECTED, detail, using=using)
    transaction.on_commit(
        lambda: account_disconnected.send_robust(sender=OntraportAccount, account=current), using=using
    )
