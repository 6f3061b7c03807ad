"""Tell Ontraport of grants that this site has let go of, until it has heard (RFC 7009)."""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import Any

from django.db.models import F, Value
from django.db.models.functions import Now
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone

from . import service
from .database import alias
from .exceptions import OntraportError, SecretUnreadable
from .models import EventKind, Method, OntraportAccount, OntraportEvent, OntraportRevocation
from .secret import Secret
from .signals import account_disconnected

logger = logging.getLogger("ontraport_connect")

KEEP_TRYING = timedelta(days=7)
LONGEST_PAUSE = 3600.0


def queue(account: OntraportAccount, refresh_token: Secret) -> OntraportRevocation:
    """Keep a grant for revocation, encrypted, in the caller's transaction. Raises ``SecretUnreadable``."""
    return OntraportRevocation.objects.using(alias()).create(
        account_uid=account.uid, client_id=account.client_id, refresh_token=refresh_token
    )


def deliver(revocation: OntraportRevocation) -> bool:
    """Tell Ontraport of one grant. Returns whether it heard; otherwise the row is kept for later, for a week at most."""
    try:
        with service.new_transport() as transport:
            service.client(revocation.client_id).revoke(transport, revocation.refresh_token)
    except OntraportError as error:
        _put_off(revocation, error)
        return False
    revocation.delete(using=alias())
    return True


def _put_off(revocation: OntraportRevocation, error: OntraportError) -> None:
    if revocation.created_at + KEEP_TRYING < timezone.now():
        logger.error("Gave up revoking the grant of account %s at Ontraport: %s", revocation.account_uid, error.code)
        revocation.delete(using=alias())
        return
    pause = random.uniform(1, min(LONGEST_PAUSE, 30 * 2 ** min(revocation.attempts, 10)))  # noqa: S311  # jitter, not a secret
    OntraportRevocation.objects.using(alias()).filter(pk=revocation.pk).update(
        attempts=F("attempts") + 1, try_at=Now() + Value(timedelta(seconds=pause))
    )


def deliver_due(limit: int) -> int:
    """Deliver up to ``limit`` revocations whose time has come, oldest first, and return how many Ontraport heard of."""
    rows = OntraportRevocation.objects.using(alias()).filter(try_at__lte=Now()).order_by("try_at")[:limit]
    return sum(deliver(row) for row in rows)


@receiver(pre_delete, sender=OntraportAccount, dispatch_uid="ontraport_connect.revoking")
def let_go(instance: OntraportAccount, using: str, **kwargs: Any) -> None:
    """Whatever deletes an account, its user, an admin, a queryset: what the row holds now is revoked, and its end is recorded."""
    current = OntraportAccount.objects.using(using).select_for_update().filter(pk=instance.pk).first()
    if current is None:
        return
    detail = ""
    if current.method == Method.OAUTH and current.refresh_token is not None:
        try:
            queue(current, current.refresh_token)
        except SecretUnreadable as error:
            detail = error.code
    OntraportEvent.record(current, EventKind.DISCONNECTED, detail, using=using)
    account_disconnected.send_robust(sender=OntraportAccount, account=current)
