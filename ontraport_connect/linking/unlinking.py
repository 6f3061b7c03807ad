"""Remove links: one, or all of a tenant."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount, OntraportRevocation
from ontraport_connect.monitoring import logger

REVOKE_SECONDS = 10.0
"""Seconds after which ``unlink_tenant`` leaves the remaining grants to the beat task: the tenant may be deleted in a web request."""


def unlink(account: OntraportAccount) -> bool:
    """Delete an account with its credentials, and revoke its grant at Ontraport when the transaction has committed.

    When Ontraport cannot be reached, the beat task tries the revocation again later; this raises no error. Returns whether Ontraport has
    revoked the grant already. Raises ``IntegrityError`` if other rows of the site need the account (``on_delete=PROTECT``); then nothing
    is changed.
    """
    revoked: list[int] = []
    with transaction.atomic(using=alias()):
        account.delete(using=alias())
        transaction.on_commit(
            lambda: revoked.append(refreshing.deliver_revocations_of(account.uid)), using=alias(), robust=True
        )
    return any(revoked)


def unlink_tenant(tenant: str) -> int:
    """Disconnect every account of a tenant that is being deleted, and return how many were disconnected.

    Each account is deleted as ``unlink`` does it. One that cannot be deleted is logged, and stays; the others go all the same. The
    grants are revoked when the caller's transaction has committed, for ``REVOKE_SECONDS`` at most and up to the first failure; the beat
    task revokes the rest. Raises ``ValueError`` without a tenant, since accounts without one belong to people.
    """
    if not tenant:
        raise ValueError("unlink_tenant needs the id of a tenant.")
    deleted: list[UUID] = []
    for account in list(OntraportAccount.objects.using(alias()).filter(tenant=tenant)):
        try:
            with transaction.atomic(using=alias()):
                account.delete(using=alias())
        except Exception:  # noqa: BLE001  # the site's receivers may raise anything
            logger.exception("Account %s of a tenant that is deleted was not disconnected.", account.uid)
        else:
            deleted.append(account.uid)
    transaction.on_commit(lambda: _revoke(deleted), using=alias(), robust=True)
    return len(deleted)


def _revoke(uids: Sequence[UUID]) -> None:
    stop_at = time.monotonic() + REVOKE_SECONDS
    for revocation in OntraportRevocation.objects.using(alias()).filter(account_uid__in=uids).order_by("pk"):
        if time.monotonic() > stop_at or not refreshing.deliver_revocation(revocation):
            return
