"""Let a link go."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount, OntraportRevocation


def unlink(account: OntraportAccount) -> None:
    """Let an account go: the row and its credentials are gone when the transaction commits, then Ontraport is told.

    Ontraport is told again later (by the beat task) when it cannot be reached. Raises nothing on that account.
    """
    with transaction.atomic(using=alias()):
        account.delete(using=alias())
        transaction.on_commit(lambda: _deliver_for(account.uid), using=alias(), robust=True)


def _deliver_for(account_uid: UUID) -> None:
    for revocation in OntraportRevocation.objects.using(alias()).filter(account_uid=account_uid):
        refreshing.deliver_revocation(revocation)
