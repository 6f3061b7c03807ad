"""Learn which Ontraport account a link belongs to that came without that knowledge, as imported tokens do"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction

from ontraport_connect import protocol, refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import Method, OntraportAccount, Status
from ontraport_connect.monitoring import logger

from .identity import identify


def without_id(pks: Sequence[int]) -> list[int]:
    """Return those of the accounts that have been refreshed and whose Ontraport account is unknown. Costs one query."""
    if not protocol.is_mcp_installed():
        return []
    return list(_unknown(pks).order_by("pk").values_list("pk", flat=True))


def learn_ids(pks: Sequence[int]) -> int:
    """Ask Ontraport (``get_account_info``) whose these accounts are, and return how many are known now.

    It stops at the first that Ontraport does not tell; their next refresh leads here again. A link to an Ontraport account that the owner
    has linked already stays without an id, and the log says so.
    """
    known = 0
    for account in _unknown(pks).order_by("pk"):
        identity = identify(account.access_token)
        if not identity.ontraport_id:
            break
        values = {"ontraport_id": identity.ontraport_id, **({} if account.label else {"label": identity.name})}
        try:
            with refreshing.left_if_locked(f"account {account.uid}"), transaction.atomic(using=alias()):
                known += _unknown([account.pk]).update(**values)
        except IntegrityError:
            logger.warning(
                "Account %s belongs to Ontraport account %s, which its owner has linked already: disconnect one of the two.",
                account.uid,
                identity.ontraport_id,
            )
    return known


def _unknown(pks: Sequence[int]) -> Any:
    return OntraportAccount.objects.using(alias()).filter(
        pk__in=pks, method=Method.OAUTH, status=Status.CONNECTED, ontraport_id="", refreshed_at__isnull=False
    )
