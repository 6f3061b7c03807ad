"""Write the notes that guard a refresh token which is spent where its row cannot be written for good."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseFailure

from ontraport_connect.protocol import Grant

from . import spent_tokens
from .leases import Lease, duration
from .spent_token_stores import SpentToken

logger = logging.getLogger("ontraport_connect")


def new_note(lease: Lease) -> SpentToken:
    """Return the note that says: the refresh token of this row is being spent."""
    return SpentToken(
        digest=spent_tokens.digest_of(lease.account),
        account_uid=lease.account.uid,
        owner=lease.owner,
        sent_at=lease.claimed_when(),
        until=lease.claimed_when() + timedelta(seconds=duration()),
    )


def keep(lease: Lease, grant: Grant, columns: Mapping[str, Any]) -> None:
    """Note an answer. Raises a database error, or ``RuntimeError`` where no thread can be started."""
    spent_tokens.keep(_answered(lease, grant, columns))


def is_noted(lease: Lease, grant: Grant, columns: Mapping[str, Any]) -> bool:
    """Note an answer outside of the caller's transaction. Where that fails (the database has no connection left, the process no thread, or
    the file is locked), the caller's transaction must get the answer all the same.
    """
    try:
        keep(lease, grant, columns)
    except (DatabaseFailure, RuntimeError):
        logger.warning(
            "The new tokens of account %s could not be noted beside its row; a rollback would lose them.",
            lease.account.uid,
        )
        return False
    return True


def _answered(lease: Lease, grant: Grant, columns: Mapping[str, Any]) -> SpentToken:
    return (lease.spent or new_note(lease)).answered(
        access_token=columns["access_token"],
        refresh_token=columns.get("refresh_token"),
        lifetime=grant.lifetime,
        scope=columns["scope"],
    )
