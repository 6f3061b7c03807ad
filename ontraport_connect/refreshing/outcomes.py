"""What an answer of Ontraport does to the row that asked: one guarded UPDATE, committed at once and by itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import F

from ontraport_connect import monitoring
from ontraport_connect.database import (
    DATABASE_IS_AWAY,
    PATIENCE,
    alias,
    any_database,
    elsewhere,
    persistently,
    to_the_end,
)
from ontraport_connect.encryption import Sealed
from ontraport_connect.exceptions import OntraportError, ReconnectRequired
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import Grant
from ontraport_connect.signals import account_needs_reconnect, account_recovered, account_refreshed

from . import circuit_breaker, client_settings, revoking, spent_tokens, strikes
from .grants import from_now, token_columns
from .leases import Lease
from .saving import columns_for, current_row, in_plain_values, save, save_elsewhere, store
from .spent_token_stores import SpentToken
from .telling import tell

T = TypeVar("T")
Outcome = Grant | OntraportError

FIRST_BACKOFF = 30.0
LONGEST_BACKOFF = 600.0

LATE = "late"
"""The code of a refresh that was not sent because its lease had grown old."""

NOBODYS_FAILURES = {LATE, client_settings.OTHER_CLIENT, client_settings.OTHER_ISSUER}
"""Codes of refreshes that were not sent, for a reason that is not the account's: its row stays as it is."""


def settle(lease: Lease, outcome: Outcome, *, read: bool = True, patience: float = PATIENCE) -> OntraportAccount | None:
    """Write what came of a call, and return the row as it is now (``None``: it is gone, or ``read`` is false). For ``patience`` see
    ``saving.store``.
    """
    if isinstance(outcome, Grant):
        return _keep(lease, outcome, read=read, patience=patience)
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
    return current_row(lease) if read else None


def settle_whatever_happens(lease: Lease, outcome: Outcome | None, step: Callable[[], T]) -> T:
    """Run ``step``, which settles. Where something else keeps it from that than a database which is away (code of the site that runs with
    each statement, log record or signal; a stack that is nearly used up; Ctrl-C once more), a grant is saved by another thread, on a
    connection that nothing of the site is hooked into. Raises what got in the way.
    """
    try:
        return step()
    except DATABASE_IS_AWAY:
        raise
    except BaseException:
        if isinstance(outcome, Grant):
            with suppress(BaseException):
                elsewhere(lambda: save_elsewhere(lease, outcome))
        raise


def _keep(lease: Lease, grant: Grant, *, read: bool, patience: float) -> OntraportAccount | None:
    columns = columns_for(lease, grant)
    stored = to_the_end(lambda: store(lease, grant, columns, patience))
    if stored is None:
        return _drop(lease, grant, deliver=read)
    return after_save(stored, read=read) if isinstance(stored, Lease) else _with(lease.account, columns)


def take_noted(lease: Lease, answers: Sequence[SpentToken]) -> OntraportAccount | None:
    """Write into the row the last of the answers that came for its refresh token earlier, and return the row. Nothing is sent, so that this
    says nothing of whether Ontraport serves this site now.
    """
    spent = answers[-1]
    noted = {"access_token": spent.access_token, "refresh_token": spent.refresh_token}
    tokens = {name: Sealed(value) for name, value in noted.items() if value is not None}
    columns = token_columns(lease.account, tokens, spent.lifetime or 0.0, spent.scope, spent.sent_at)
    if not persistently(lambda: save(lease, in_plain_values(lease, columns))):
        return current_row(lease)
    logger.info("Account %s takes over the tokens that came for it before.", lease.account.uid)
    spent_tokens.forget_on_commit([each.digest for each in answers])
    return after_save(replace(lease, is_probe=False), read=True, result="recovered")


def _with(account: OntraportAccount, columns: Mapping[str, Any]) -> OntraportAccount:
    """Return the account as it will be once its row can be written."""
    current = copy(account)
    for name, value in columns.items():
        setattr(current, name, value)
    current.remember()
    return current


def after_save(lease: Lease, *, read: bool, result: str = "refreshed") -> OntraportAccount | None:
    """Do what is due once a grant is in its row. Nothing here undoes that, or keeps the rest from being done."""
    account = lease.account
    monitoring.refresh_ended(lease.account.uid, result, lease.age())
    if lease.spent is not None:
        spent_tokens.forget_on_commit([lease.spent.digest])
    if account.failures:
        _record(lease, EventKind.RECOVERED, account.last_error)
    if lease.is_probe:
        persistently(lambda: circuit_breaker.release(account.client_id))
    current = (
        current_row(lease) if read or account.failures or account_refreshed.has_listeners(OntraportAccount) else None
    )
    if current is not None:
        tell(account_refreshed, OntraportAccount, account=current)
        if account.failures:
            tell(account_recovered, OntraportAccount, account=current)
    return current


def _drop(lease: Lease, grant: Grant, *, deliver: bool) -> OntraportAccount | None:
    """Revoke a grant that the row has no place for: the account was disconnected or relinked. A sibling of the grant in use stays alone,
    since to revoke one may end both (RFC 7009, 2.1).
    """
    monitoring.refresh_ended(lease.account.uid, "superseded", lease.age())
    current, account = current_row(lease), lease.account
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
    current = current_row(lease)
    if current is not None:
        tell(account_needs_reconnect, OntraportAccount, account=current)


def stops_others(outcome: Outcome, *, is_probe: bool) -> bool:
    """Tell whether, after this outcome, no other token is to be sent: the breaker is open now, or answers do not come. A probe of a grant
    that has ended stops nobody: the next account may tell more.
    """
    if not isinstance(outcome, OntraportError):
        return False
    if outcome.code in strikes.NO_ANSWER:
        return strikes.is_nobody_answered()
    if outcome.code not in strikes.THRESHOLDS:
        return False
    if is_probe and isinstance(outcome, ReconnectRequired):
        return circuit_breaker.site_standing().hold_code == circuit_breaker.MANY_ENDED
    return not circuit_breaker.may_refresh()


def let_go(lease: Lease) -> None:
    """Give a lease back; the account is as it was."""
    _update(lease)


def _back_off(lease: Lease, error: OntraportError) -> None:
    """Try this account again later, with full jitter; its token is kept. The pause that a 429 asks for is kept. Any other answer that asks
    for a long one (a maintenance page) is no reason to let the access token end, nor for all to come back at once.
    """
    failures = lease.account.failures
    pause = random.uniform(1, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures, 10)))  # noqa: S311  # jitter
    asked = getattr(error, "retry_after", None) or 0
    if asked > LONGEST_BACKOFF and error.code != strikes.RATE_LIMITED:
        asked = random.uniform(LONGEST_BACKOFF / 2, LONGEST_BACKOFF)  # noqa: S311  # jitter
    values = {"refresh_at": from_now(max(pause, asked)), "failures": F("failures") + 1, "last_error": error.code}
    if _update(lease, **values) and not failures:
        _record(lease, EventKind.REFRESH_FAILING, error.code)


def _update(lease: Lease, **values: Any) -> bool:
    rows = lease.rows().filter(lease_owner=lease.owner)
    return bool(persistently(lambda: rows.update(lease_until=None, **values)))


def _record(lease: Lease, kind: EventKind, detail: str) -> None:
    """Add to the history. An account that is deleted at this moment has no place for it, which must not undo what was saved."""
    using = alias()
    try:
        with any_database(), transaction.atomic(using=using):
            OntraportEvent.record(lease.account, kind, detail, using=using)
    except Exception:  # noqa: BLE001  # the database's, or that of a receiver of the site
        logger.exception("The history of account %s lacks: %s", lease.account.uid, kind)
