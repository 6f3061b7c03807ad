"""Move a link to another owner."""

from __future__ import annotations

from django.db import transaction

from ontraport_connect.database import alias
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent

from .owner import Owner


def assign(account: OntraportAccount, owner: Owner) -> None:
    """Make ``owner`` the owner of a link, and record the event; its credentials stay as they are.

    It becomes the new owner's default if there is none. Raises ``LinkingFailed`` when that owner has a link to the same Ontraport
    account, made by the same method, or when the link was removed meanwhile.
    """
    with transaction.atomic(using=alias()):
        others = owner.accounts().exclude(pk=account.pk)
        same = others.filter(method=account.method, ontraport_id=account.ontraport_id).exclude(ontraport_id="")
        if same.exists():
            raise LinkingFailed(
                f"That owner is connected to Ontraport account {account.ontraport_id} already. Disconnect one of the two.",
                code="twice",
            )
        is_moved = (
            OntraportAccount.objects.using(alias())
            .filter(pk=account.pk)
            .update(user=owner.user, tenant=owner.tenant or "", is_default=not others.filter(is_default=True).exists())
        )
        if not is_moved:
            raise LinkingFailed("This connection was removed in the meantime.", code="gone")
        account.refresh_from_db(using=alias())
        OntraportEvent.record(account, EventKind.LINKED, "assigned", using=alias())
