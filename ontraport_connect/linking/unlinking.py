"""Remove a link."""

from __future__ import annotations

from django.db import transaction

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount


def unlink(account: OntraportAccount) -> bool:
    """Delete an account with its credentials, and revoke its grant at Ontraport when the transaction has committed.

    When Ontraport cannot be reached, the beat task tries the revocation again later; this raises no error. Returns whether Ontraport has
    revoked the grant already.
    """
    revoked: list[int] = []
    with transaction.atomic(using=alias()):
        account.delete(using=alias())
        transaction.on_commit(
            lambda: revoked.append(refreshing.deliver_revocations_of(account.uid)), using=alias(), robust=True
        )
    return any(revoked)
