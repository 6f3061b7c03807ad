"""Make the notes that guard a spent token: of a lease, and of the answer that came for it (see ``spent_tokens``)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseFailure

from ontraport_connect.database import has_one_writer, persistently
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import Grant

from . import spent_tokens
from .leases import Lease, duration
from .spent_token_stores import SpentToken


def is_noted_beside(lease: Lease, grant: Grant, columns: Mapping[str, Any]) -> bool:
    """Note an answer outside of the caller's transaction. Where that fails (the database has no connection left, the process no thread, or
    the file is locked), the caller's transaction must get the answer all the same.
    """
    try:
        persistently(lambda: spent_tokens.keep(answered(lease, grant, columns)), is_aside=not has_one_writer())
    except (DatabaseFailure, RuntimeError):
        logger.warning(
            "The new tokens of account %s could not be noted beside its row; a rollback would lose them.",
            lease.account.uid,
        )
        return False
    return True


def answered(lease: Lease, grant: Grant, columns: Mapping[str, Any]) -> SpentToken:
    return (lease.spent or new_note(lease)).answered(
        access_token=columns["access_token"],
        refresh_token=columns.get("refresh_token"),
        lifetime=grant.lifetime,
        scope=columns["scope"],
    )


def new_note(lease: Lease) -> SpentToken:
    """Return the note that says: the refresh token of this row is being spent."""
    return SpentToken(
        digest=spent_tokens.digest_of(lease.account),
        account_uid=lease.account.uid,
        owner=lease.owner,
        sent_at=lease.claimed_when(),
        until=lease.claimed_when() + timedelta(seconds=duration()),
    )
