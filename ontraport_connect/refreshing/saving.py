"""Save a grant in its row, guarded and committed at once; or, where that cannot be done, note it beside the row"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.db import Error as DatabaseFailure

from ontraport_connect import monitoring
from ontraport_connect.database import DATABASE_IS_AWAY, PATIENCE, alias, persistently
from ontraport_connect.exceptions import SecretUnreadable
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import Grant

from . import spent_tokens
from .grants import grant_columns
from .leases import Lease
from .notes import answered, is_noted_beside
from .spent_token_stores import SpentToken


def store(
    lease: Lease, grant: Grant, columns: Mapping[str, Any], patience: float = PATIENCE
) -> Lease | SpentToken | None:
    """Save a grant, and return the lease whose row holds it now. Where the row cannot be written, note the grant outside, for whoever
    claims the row next, and return the note. ``None``: no row is to hold it. It may be run again after it was interrupted.

    Where neither can be done (both tables are locked), both are tried by turns for ``patience`` seconds. Raises a database error where the
    grant is nowhere then.
    """
    is_noted = lease.spent is not None and is_noted_beside(lease, grant, columns)
    saved = _saved_or_noted(lease, grant, columns, patience)
    if saved is not None and lease.spent is not None and not is_noted:
        # What kept it from being noted may be over, and the transaction may still be rolled back.
        is_noted_beside(lease, grant, columns)
    return saved


def _saved_or_noted(
    lease: Lease, grant: Grant, columns: Mapping[str, Any], patience: float
) -> Lease | SpentToken | None:
    give_up = time.monotonic() + patience
    is_told = False
    while True:
        try:
            return _saved(lease, columns)
        except DatabaseFailure:
            note = answered(lease, grant, columns)
            if _is_kept(note, may_fail=lease.spent is None and time.monotonic() < give_up):
                monitoring.refresh_ended(lease.account.uid, "noted", lease.age())
                if lease.spent is not None:
                    raise
                if current_row(lease) is None:  # whoever deleted it may have looked for notes before this one was made
                    return None
                logger.warning(
                    "Account %s cannot be written now; its new tokens are kept beside its row.", lease.account.uid
                )
                return note
        if not is_told:
            logger.warning(
                "The new tokens of account %s can be saved nowhere now; that is tried again.", lease.account.uid
            )
            is_told = True
        time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # jitter


def _is_kept(note: SpentToken, *, may_fail: bool) -> bool:
    try:
        spent_tokens.keep(note)
    except DATABASE_IS_AWAY:
        if not may_fail:
            raise
        return False
    return True


def _saved(lease: Lease, columns: Mapping[str, Any]) -> Lease | None:
    """Save, and return the lease for the row as it was then, ``None`` where the row holds another grant now, or is gone."""
    if persistently(lambda: save(lease, columns)):
        return lease
    current = _holding_the_spent_token(lease)
    if current is None:
        return None
    columns = {**columns, "version": current.account.version + 1}
    return current if persistently(lambda: save(current, columns)) else None


def _holding_the_spent_token(lease: Lease) -> Lease | None:
    """Return the lease for the row as it is now, if other code changed another secret of it meanwhile: its refresh token is spent all the
    same, and what came for it is the only way on.
    """
    current = current_row(lease)
    if current is None or current.status != Status.CONNECTED:
        return None
    try:
        is_same = spent_tokens.digest_of(current) == spent_tokens.digest_of(lease.account)
    except SecretUnreadable:
        return None
    vars(current)["now"] = lease.claimed_when()
    return replace(lease, account=current) if is_same else None


def save_elsewhere(lease: Lease, grant: Grant) -> None:
    """Save a grant, unless it is saved already. In the caller's transaction, which holds the row, it can be noted only."""
    columns = columns_for(lease, grant)
    if lease.spent is None:
        with suppress(Exception):
            store(lease, grant, columns, patience=0)
            return
    spent_tokens.keep(answered(lease, grant, columns))


def columns_for(lease: Lease, grant: Grant) -> dict[str, Any]:
    """Return the columns of the row that was claimed, once it holds this grant."""
    asked = lease.account.scope
    return in_plain_values(lease, grant_columns(lease.account, grant, asked=asked, since=lease.claimed_when()))


def in_plain_values(lease: Lease, columns: Mapping[str, Any]) -> dict[str, Any]:
    """To compile expressions costs more than to encrypt."""
    return {**columns, "refreshed_at": lease.now(), "version": lease.account.version + 1}


def save(lease: Lease, columns: Mapping[str, Any]) -> bool:
    """Save, also when the lease has ended: nothing newer is in the row. Returns whether it is there; the answer to an earlier attempt
    may have been lost with the connection.
    """
    return bool(
        lease.rows().update(**columns, lease_owner=lease.receipt)
        or OntraportAccount.objects.using(alias()).filter(pk=lease.account.pk, lease_owner=lease.receipt).exists()
    )


def current_row(lease: Lease) -> OntraportAccount | None:
    rows = OntraportAccount.objects.using(alias()).filter(pk=lease.account.pk)
    current: OntraportAccount | None = persistently(rows.first)
    return current
