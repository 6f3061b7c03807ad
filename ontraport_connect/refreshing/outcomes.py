"""What an answer of Ontraport does to the row that asked: one guarded UPDATE, committed at once and by itself."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from django.db import DatabaseError, transaction
from django.db import Error as DatabaseFailure
from django.db.models import F

from ontraport_connect import monitoring
from ontraport_connect.database import alias, persistently, to_the_end, whatever_runs_here
from ontraport_connect.encryption import Sealed
from ontraport_connect.exceptions import OntraportError, ReconnectRequired, SecretUnreadable
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from ontraport_connect.protocol import Grant
from ontraport_connect.signals import account_needs_reconnect, account_recovered, account_refreshed

from . import circuit_breaker, client_settings, revoking, spent_tokens, strikes
from .grants import from_now, grant_columns, token_columns
from .leases import Lease
from .notes import answered, is_noted_beside
from .spent_token_stores import SpentToken

logger = logging.getLogger("ontraport_connect")

Outcome = Grant | OntraportError

FIRST_BACKOFF = 30.0
LONGEST_BACKOFF = 600.0

LATE = "late"
"""The code of a refresh that was not sent because its lease had grown old."""

NOBODYS_FAILURES = {LATE, client_settings.OTHER_CLIENT, client_settings.OTHER_ISSUER}
"""Codes of refreshes that were not sent, for a reason that is not the account's: its row stays as it is."""


def settle(lease: Lease, outcome: Outcome, *, read: bool = True) -> OntraportAccount | None:
    """Write what came of a call, and return the row as it is now (``None``: it is gone, or ``read`` is false)."""
    if isinstance(outcome, Grant):
        return _keep(lease, outcome, read=read)
    if lease.spent is not None:
        spent_tokens.forget(lease.spent.digest)
    is_for_all = persistently(lambda: circuit_breaker.report(outcome, lease.account))
    if outcome.code == strikes.RATE_LIMITED:
        _back_off(lease, outcome)
    elif is_for_all or outcome.code in NOBODYS_FAILURES:
        let_go(lease)
    elif isinstance(outcome, ReconnectRequired):
        _mark(lease, outcome)
    else:
        _back_off(lease, outcome)
    monitoring.refresh_ended(lease.account.uid, outcome.code, lease.age())
    return _current(lease) if read else None


def _keep(lease: Lease, grant: Grant, *, read: bool) -> OntraportAccount | None:
    columns = columns_for(lease, grant)
    stored = to_the_end(lambda: _store(lease, grant, columns))
    if stored is None:
        return _drop(lease, grant, deliver=read)
    return after_save(stored, read=read) if isinstance(stored, Lease) else _with(lease.account, columns)


def _store(lease: Lease, grant: Grant, columns: Mapping[str, Any]) -> Lease | SpentToken | None:
    """Save a grant, and return the lease whose row holds it now. Where the row cannot be written, note the grant outside, for whoever
    claims the row next, and return the note. ``None``: no row is to hold it. It may be run again after it was interrupted.
    """
    is_noted = lease.spent is not None and is_noted_beside(lease, grant, columns)
    try:
        saved = _saved(lease, columns)
    except DatabaseFailure:
        note = answered(lease, grant, columns)
        whatever_runs_here(lambda: spent_tokens.keep(note))
        monitoring.refresh_ended(lease.account.uid, "noted", lease.age())
        if lease.spent is not None:
            raise
        logger.warning("Account %s cannot be written now; its new tokens are kept beside its row.", lease.account.uid)
        return note
    if saved is not None and lease.spent is not None and not is_noted:
        # What kept it from being noted may be over, and the transaction may still be rolled back.
        is_noted_beside(lease, grant, columns)
    return saved


def _saved(lease: Lease, columns: Mapping[str, Any]) -> Lease | None:
    """Save, and return the lease for the row as it was then, ``None`` where the row holds another grant now, or is gone."""
    if persistently(lambda: _save(lease, columns)):
        return lease
    current = _holding_the_spent_token(lease)
    if current is None:
        return None
    columns = {**columns, "version": current.account.version + 1}
    return current if persistently(lambda: _save(current, columns)) else None


def _holding_the_spent_token(lease: Lease) -> Lease | None:
    """Return the lease for the row as it is now, if other code changed another secret of it meanwhile: its refresh token is spent all the
    same, and what came for it is the only way on.
    """
    current = _current(lease)
    if current is None or current.status != Status.CONNECTED:
        return None
    try:
        is_same = spent_tokens.digest_of(current) == spent_tokens.digest_of(lease.account)
    except SecretUnreadable:
        return None
    vars(current)["now"] = lease.claimed_when()
    return replace(lease, account=current) if is_same else None


def take_noted(lease: Lease, answers: Sequence[SpentToken]) -> OntraportAccount | None:
    """Write into the row the last of the answers that came for its refresh token earlier, and return the row. Nothing is sent, so that this
    says nothing of whether Ontraport serves this site now.
    """
    spent = answers[-1]
    noted = {"access_token": spent.access_token, "refresh_token": spent.refresh_token}
    tokens = {name: Sealed(value) for name, value in noted.items() if value is not None}
    columns = token_columns(lease.account, tokens, spent.lifetime or 0.0, spent.scope, spent.sent_at)
    if not persistently(lambda: _save(lease, _in_plain_values(lease, columns))):
        return _current(lease)
    logger.info("Account %s takes over the tokens that came for it before.", lease.account.uid)
    spent_tokens.forget_on_commit([each.digest for each in answers])
    return after_save(replace(lease, is_probe=False), read=True, result="recovered")


def columns_for(lease: Lease, grant: Grant) -> dict[str, Any]:
    """Return the columns of the row that was claimed, once it holds this grant."""
    asked = lease.account.scope
    return _in_plain_values(lease, grant_columns(lease.account, grant, asked=asked, since=lease.claimed_when()))


def _in_plain_values(lease: Lease, columns: Mapping[str, Any]) -> dict[str, Any]:
    """To compile expressions costs more than to encrypt."""
    return {**columns, "refreshed_at": lease.now(), "version": lease.account.version + 1}


def _with(account: OntraportAccount, columns: Mapping[str, Any]) -> OntraportAccount:
    """Return the account as it will be once its row can be written."""
    current = copy(account)
    for name, value in columns.items():
        setattr(current, name, value)
    current.remember()
    return current


def _save(lease: Lease, columns: Mapping[str, Any]) -> bool:
    """Save, also when the lease has ended: nothing newer is in the row. Returns whether it is there; the answer to an earlier attempt
    may have been lost with the connection.
    """
    return bool(
        lease.rows().update(**columns, lease_owner=lease.receipt)
        or OntraportAccount.objects.using(alias()).filter(pk=lease.account.pk, lease_owner=lease.receipt).exists()
    )


def after_save(lease: Lease, *, read: bool, result: str = "refreshed") -> OntraportAccount | None:
    account = lease.account
    monitoring.refresh_ended(lease.account.uid, result, lease.age())
    if lease.spent is not None:
        spent_tokens.forget_on_commit([lease.spent.digest])
    if account.failures:
        _record(lease, EventKind.RECOVERED, account.last_error)
    if lease.is_probe:
        persistently(lambda: circuit_breaker.release(account.client_id))
    current = _current(lease) if read or account.failures or account_refreshed.has_listeners(OntraportAccount) else None
    if current is not None:
        account_refreshed.send_robust(sender=OntraportAccount, account=current)
        if account.failures:
            account_recovered.send_robust(sender=OntraportAccount, account=current)
    return current


def _drop(lease: Lease, grant: Grant, *, deliver: bool) -> OntraportAccount | None:
    """Revoke a grant that the row has no place for: the account was disconnected or relinked. A sibling of the grant in use stays alone,
    since to revoke one may end both (RFC 7009, 2.1).
    """
    monitoring.refresh_ended(lease.account.uid, "superseded", lease.age())
    current, account = _current(lease), lease.account
    if current is not None and current.status == Status.CONNECTED and current.linked_at == account.linked_at:
        rows = OntraportAccount.objects.using(alias()).filter(pk=account.pk, lease_owner=lease.owner)
        persistently(lambda: rows.update(lease_until=None))
        return current
    refresh_token = grant.refresh_token
    if refresh_token is not None:
        logger.info("Account %s was changed or disconnected during its refresh; the new grant is revoked.", account.uid)
        queued = persistently(lambda: revoking.queue_revocation(account, refresh_token))
        if deliver:
            revoking.deliver_revocation(queued)
    return current


def _mark(lease: Lease, error: ReconnectRequired) -> None:
    """Mark the account, unless its row has changed meanwhile: then somebody else's token is the current one."""
    marked = _update(
        lease,
        status=Status.NEEDS_RECONNECT,
        refresh_at=None,
        version=F("version") + 1,
        last_error=error.code,
    )
    if not marked:
        return
    _record(lease, EventKind.NEEDS_RECONNECT, error.code)
    logger.warning("Account %s needs to be reconnected: %s", lease.account.uid, error.code)
    current = _current(lease)
    if current is not None:
        account_needs_reconnect.send_robust(sender=OntraportAccount, account=current)


def let_go(lease: Lease) -> None:
    """Give a lease back; the account is as it was."""
    _update(lease)


def _back_off(lease: Lease, error: OntraportError) -> None:
    """Try this account again later, with full jitter; its token is kept."""
    failures = lease.account.failures
    pause = random.uniform(1, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures, 10)))  # noqa: S311  # jitter
    pause = max(pause, getattr(error, "retry_after", None) or 0)
    values = {"refresh_at": from_now(pause), "failures": F("failures") + 1, "last_error": error.code}
    if _update(lease, **values) and not failures:
        _record(lease, EventKind.REFRESH_FAILING, error.code)


def _update(lease: Lease, **values: Any) -> bool:
    rows = lease.rows().filter(lease_owner=lease.owner)
    return bool(persistently(lambda: rows.update(lease_until=None, **values)))


def _record(lease: Lease, kind: EventKind, detail: str) -> None:
    """Add to the history. An account that is deleted at this moment has no place for it, which must not undo what was saved."""
    try:
        with transaction.atomic(using=alias()):
            OntraportEvent.record(lease.account, kind, detail, using=alias())
    except DatabaseError:
        logger.exception("The history of account %s lacks: %s", lease.account.uid, kind)


def _current(lease: Lease) -> OntraportAccount | None:
    rows = OntraportAccount.objects.using(alias()).filter(pk=lease.account.pk)
    current: OntraportAccount | None = persistently(rows.first)
    return current
