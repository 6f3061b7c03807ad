"""What an owner says about a link: what it is called, and which one is used where a page does not ask for another."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Case, Value, When

from ontraport_connect.database import alias
from ontraport_connect.linking import Owner
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent


def rename(account: OntraportAccount, label: str) -> None:
    """Call it ``label``; an empty one leaves Ontraport's number as its name."""
    account.label = label
    account.save(using=alias(), update_fields=["label"])


def make_default(owner: Owner, account: OntraportAccount) -> None:
    """Make this the one default among the accounts of its owner, in one statement: of two at the same moment, the later one wins."""
    owner.accounts().update(is_default=Case(When(pk=account.pk, then=Value(True)), default=Value(False)))
    account.is_default = True


def was_disconnected(owner: Owner, uid: UUID) -> bool:
    """Tell whether this owner had that account and let it go, as who presses a button twice just did."""
    owned = {"tenant": owner.tenant} if owner.tenant else {"tenant": "", "user": owner.user}
    ended = OntraportEvent.objects.using(alias()).filter(account_uid=uid, kind=EventKind.DISCONNECTED, **owned)
    return bool(ended.exists())
