"""Remove a link."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount, OntraportRevocation


def unlink(account: OntraportAccount) -> None:
    """Delete an account with its credentials, and revoke its grant at Ontraport when the transaction has committed.

    When Ontraport cannot be reached, the beat task tries the revocation again later; this raises no error.
    """
    with transaction.atomic(using=alias()):
        account.delete(using=alias())
        transaction.on_commit(lambda: _deliver_for(account.uid), using=alias(), robust=True)


def _deliver_for(account_uid: UUID) -> None:
    for revocation in OntraportRevocation.objects.using(alias()).filter(account_uid=account_uid):
        refreshing.deliver_revocation(revocation)
