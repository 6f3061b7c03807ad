"""Changes an owner makes to a link: its label, and which link is the default."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Case, Value, When
from django.http import Http404

from ontraport_connect.database import alias
from ontraport_connect.linking import Owner
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, validate_label


def rename(account: OntraportAccount, label: str) -> None:
    """Set the label. With an empty label the account is shown by its Ontraport number.

    Raises ``ValidationError`` for a label that is not one plain line, or that nobody can see, and ``Http404`` for an account that was
    removed meanwhile.
    """
    label = label.strip()
    validate_label(label)
    if not OntraportAccount.objects.using(alias()).filter(pk=account.pk).update(label=label):
        raise Http404
    account.label = label
    account.remember({"label"})


def make_default(owner: Owner, account: OntraportAccount) -> None:
    """Make this the only default among the owner's accounts.

    Concurrent calls leave exactly one default: the last one wins. They lock the rows in one order, lest each wait for a row of the other.
    Raises ``Http404``, and leaves the default as it is, for an account that was removed meanwhile.
    """
    with transaction.atomic(using=alias()):
        locked = list(owner.accounts().select_for_update().order_by("pk").values_list("pk", flat=True))
        if account.pk not in locked:
            raise Http404
        owner.accounts().update(is_default=Case(When(pk=account.pk, then=Value(True)), default=Value(False)))
    account.is_default = True


def was_disconnected(owner: Owner, uid: UUID) -> bool:
    """Tell whether this owner has disconnected the account before, as after a double click on the button."""
    owned = {"tenant": owner.tenant} if owner.tenant else {"tenant": "", "user": owner.user}
    ended = OntraportEvent.objects.using(alias()).filter(account_uid=uid, kind=EventKind.DISCONNECTED, **owned)
    return bool(ended.exists())
