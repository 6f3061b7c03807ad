"""What an answer of Ontraport does to the row that asked: one guarded UPDATE, committed whatever the caller's transaction does."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.models import F, Value
from django.db.models.functions import Now

from . import revoking, service
from .database import alias, in_transaction, on_own_connection, when_transaction_ends
from .exceptions import OntraportError, OntraportMisconfigured, ReconnectRequired, SecretUnreadable
from .models import EventKind, OntraportAccount, OntraportEvent, Status, refresh_delay
from .provider import Grant
from .signals import account_needs_reconnect, account_recovered, account_refreshed

logger = logging.getLogger("ontraport_connect")

PATIENCE = 120.0
"""Seconds that a save is tried again while the database is away: what it holds exists nowhere else."""

FIRST_BACKOFF = 30.0
LONGEST_BACKOFF = 1800.0
EARLIEST = 0.9
"""Due times are spread over the last tenth of the time to wait, so that links made together are not refreshed together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to spend the refresh token of ``account``, as its row was when it was claimed."""

    account: OntraportAccount
    owner: str
    send_before: float
    callers_transaction: bool
    is_probe: bool

    @property
    def guard(self) -> dict[str, Any]:
        """Match the row for as long as this lease holds."""
        return {"pk": self.account.pk, "version": self.account.version, "lease_owner": self.owner}

    @property
    def saved(self) -> dict[str, Any]:
        """Match the row after this lease's save."""
        return {**self.guard, "version": self.account.version + 1}


def settle(lease: Lease, outcome: Grant | OntraportError, *, read: bool = True) -> OntraportAccount | None:
    """Write what came of a call, and return the row as it is now (``None``: it is gone, or ``read`` is false)."""
    if isinstance(outcome, Grant):
        return _keep(lease, outcome, read)
    if isinstance(outcome, ReconnectRequired):
        return _mark(lease, outcome)
    if isinstance(outcome, OntraportMisconfigured) and not isinstance(outcome, SecretUnreadable):
        return _let_go(lease, outcome)
    if outcome.code == service.RATE_LIMITED:
        return _let_go(lease, outcome)
    return _back_off(lease, outcome)


def columns_of(account: OntraportAccount, grant: Grant, *, asked: str) -> dict[str, Any]:
    """Return what a row holds once it holds this grant: tokens encrypted for it, times by the clock of the database."""
    tokens = {"access_token": grant.access_token}
    if grant.refresh_token is not None:
        tokens["refresh_token"] = grant.refresh_token
    has_refresh_token = grant.refresh_token is not None or account.refresh_token is not None
    delay = refresh_delay(grant.lifetime) * random.uniform(EARLIEST, 1) if has_refresh_token else grant.lifetime  # noqa: S311
    return {
        **{
            name: OntraportAccount._meta.get_field(name).seal_for(account.uid, secret.reveal())
            for name, secret in tokens.items()
        },
        "scope": granted_scope(asked, grant),
        "expires_at": after(grant.lifetime),
        "refresh_at": after(delay),
        "refreshed_at": Now(),
        "version": F("version") + 1,
        "lease_until": None,
        "failures": 0,
        "last_error": "",
    }


def granted_scope(asked: str, grant: Grant) -> str:
    """Return the scope to record: narrower than asked is believed, wider is not (RFC 6749, 3.3)."""
    if grant.scope is None:
        return asked
    return " ".join(sorted(grant.scope & set(asked.split())))


def after(seconds: float) -> Any:
    """Return the expression for a time from now by the clock of the database."""
    return Now() + Value(timedelta(seconds=seconds))


def _keep(lease: Lease, grant: Grant, read: bool) -> OntraportAccount | None:
    account = lease.account
    values = columns_of(account, grant, asked=account.scope)
    rows = OntraportAccount.objects.using(alias())

    def save() -> bool:
        if not rows.filter(**lease.guard).update(**values) and not rows.filter(**lease.saved).exists():
            return False
        if account.failures:
            OntraportEvent.record(account, EventKind.RECOVERED, account.last_error, using=alias())
        if lease.is_probe:
            service.release()
        return True

    if not _persist(lease, save):
        logger.info("Account %s was changed or disconnected during its refresh; the new grant is revoked.", account.uid)
        _persist(lease, lambda: grant.refresh_token and revoking.queue(account, grant.refresh_token))
        return _current(lease)
    if lease.callers_transaction:
        when_transaction_ends(lambda: _save_again(account, values))
    current = _current(lease) if read or account.failures or account_refreshed.has_listeners(OntraportAccount) else None
    if current is not None:
        account_refreshed.send_robust(sender=OntraportAccount, account=current)
        if account.failures:
            account_recovered.send_robust(sender=OntraportAccount, account=current)
    return current


def _save_again(account: OntraportAccount, values: dict[str, Any]) -> None:
    try:
        OntraportAccount.objects.using(alias()).filter(pk=account.pk, version=account.version).update(**values)
    except DatabaseError:
        logger.exception("The tokens of account %s could not be saved after a rollback.", account.uid)


def _mark(lease: Lease, error: ReconnectRequired) -> OntraportAccount | None:
    """Mark the account, unless its row has changed meanwhile: then somebody else's token is the current one."""
    marked = _update(
        lease,
        EventKind.NEEDS_RECONNECT,
        error,
        status=Status.NEEDS_RECONNECT,
        refresh_at=None,
        version=F("version") + 1,
        last_error=error.code,
    )
    current = _current(lease)
    if marked and current is not None:
        logger.warning("Account %s needs to be reconnected: %s", current.uid, error.code)
        account_needs_reconnect.send_robust(sender=OntraportAccount, account=current)
    return current


def _let_go(lease: Lease, error: OntraportError) -> OntraportAccount | None:
    _update(lease, None, error)
    _persist(lease, lambda: service.hold(error))
    return _current(lease)


def _back_off(lease: Lease, error: OntraportError) -> OntraportAccount | None:
    """Try this account again later, with full jitter; its token is kept."""
    failures = lease.account.failures
    pause = random.uniform(1, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures, 10)))  # noqa: S311  # jitter
    pause = max(pause, getattr(error, "retry_after", None) or 0)
    _update(
        lease,
        None if failures else EventKind.REFRESH_FAILING,
        error,
        refresh_at=after(pause),
        failures=F("failures") + 1,
        last_error=error.code,
    )
    return _current(lease)


def _update(lease: Lease, kind: EventKind | None, error: OntraportError, **values: Any) -> bool:
    def save() -> bool:
        updated = OntraportAccount.objects.using(alias()).filter(**lease.guard).update(lease_until=None, **values)
        if updated and kind is not None:
            OntraportEvent.record(lease.account, kind, error.code, using=alias())
        return bool(updated)

    return bool(_persist(lease, save))


def _current(lease: Lease) -> OntraportAccount | None:
    current: OntraportAccount | None = _persist(
        lease, lambda: OntraportAccount.objects.using(alias()).filter(pk=lease.account.pk).first()
    )
    return current


def _persist(lease: Lease, step: Callable[[], Any]) -> Any:
    """Run a step on the right connection, again and again while the database is away."""
    if lease.callers_transaction:
        return step()
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return on_own_connection(step)
        except (OperationalError, InterfaceError):
            if time.monotonic() > give_up:
                raise
            if not in_transaction():
                connections[alias()].close()
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311  # jitter
