"""What an answer of Ontraport does to the row that asked: one guarded UPDATE, committed whatever the caller's transaction does."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

from django.db import DatabaseError, connections, transaction
from django.db import Error as DatabaseFailure
from django.db.models import F, Value
from django.db.models.functions import Now

from ontraport_connect.database import DATABASE_IS_AWAY, alias, in_transaction, when_transaction_ends
from ontraport_connect.encryption import EncryptedTextField
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, ReconnectRequired, SecretUnreadable
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status, refresh_delay
from ontraport_connect.protocol import OPERATOR_ERRORS, Grant
from ontraport_connect.signals import account_needs_reconnect, account_recovered, account_refreshed

from . import circuit_breaker, client_settings, revoking

logger = logging.getLogger("ontraport_connect")

Outcome = Grant | OntraportError
T = TypeVar("T")

seconds: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""A clock that nobody sets. Where there is one, it goes on while the machine sleeps, as a lease does."""

PATIENCE = 120.0
"""Seconds that a save is tried again while the database is away: what it holds exists nowhere else."""

FIRST_BACKOFF = 30.0
LONGEST_BACKOFF = 600.0
EARLIEST = 0.9
"""Due times are spread over the last tenth of the time to wait, so that links made together are not refreshed together."""

LATE = "late"
"""The code of a refresh that was not sent since its lease had grown old; nobody's failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to spend the refresh token of ``account``, as its row was when it was claimed, at ``now`` by the database's clock."""

    account: OntraportAccount
    owner: str
    claimed_at: float
    callers_transaction: bool
    is_probe: bool

    def age(self) -> float:
        """Return the seconds since it was taken."""
        return seconds() - self.claimed_at

    def rows(self) -> Any:
        """Return the row, as long as its grant is the one that was claimed: whatever changes a grant changes the version."""
        return OntraportAccount.objects.using(alias()).filter(pk=self.account.pk, version=self.account.version)

    def columns_of(self, grant: Grant) -> dict[str, Any]:
        """Return what the row holds once it holds this grant, in plain values: to compile expressions costs more than to encrypt."""
        now: datetime = vars(self.account)["now"]
        return {
            **grant_columns(self.account, grant, asked=self.account.scope, since=now),
            "refreshed_at": now + timedelta(seconds=self.age()),
            "version": self.account.version + 1,
        }

    @property
    def receipt(self) -> str:
        """Stands in the row in place of the owner once this lease's grant is saved."""
        return f"{self.owner}+"


def settle(lease: Lease, outcome: Outcome, *, read: bool = True) -> OntraportAccount | None:
    """Write what came of a call, and return the row as it is now (``None``: it is gone, or ``read`` is false)."""
    if isinstance(outcome, Grant):
        return _keep(lease, outcome, read=read)
    if isinstance(outcome, ReconnectRequired):
        _mark(lease, outcome)
    elif concerns_all(outcome, lease.account):
        let_go(lease)
        _persist(lease, lambda: circuit_breaker.hold(outcome))
    elif outcome.code == LATE:
        let_go(lease)
    else:
        _back_off(lease, outcome)
    return _current(lease) if read else None


def concerns_all(error: OntraportError, account: OntraportAccount) -> bool:
    """Tell whether an error is no account's own: Ontraport asks the site to slow down, or refuses it, or a setting is wrong.

    A refusal of a client that only some accounts were linked with, by the address that the site had then, is theirs alone.
    """
    if error.code in OPERATOR_ERRORS and account.client_id:
        return False
    if isinstance(error, OntraportMisconfigured):
        return not isinstance(error, SecretUnreadable) and error.code != client_settings.NO_CLIENT
    return error.code == circuit_breaker.RATE_LIMITED


def grant_columns(account: OntraportAccount, grant: Grant, *, asked: str, since: Any = None) -> dict[str, Any]:
    """Return what a row holds once it holds this grant: tokens encrypted for it, times by the clock of the database.

    ``since`` is when the grant was asked for, by that clock (``None``: now); Ontraport may have counted its lifetime from then on.
    """
    since = Now() if since is None else since
    tokens = {"access_token": grant.access_token}
    if grant.refresh_token is not None:
        tokens["refresh_token"] = grant.refresh_token
    has_refresh_token = grant.refresh_token is not None or account.refresh_token is not None
    delay = refresh_delay(grant.lifetime) * random.uniform(EARLIEST, 1) if has_refresh_token else grant.lifetime  # noqa: S311
    return {
        **{name: _field(name).seal_for(account.uid, secret) for name, secret in tokens.items()},
        "scope": granted_scope(asked, grant),
        "expires_at": since + timedelta(seconds=grant.lifetime),
        "refresh_at": since + timedelta(seconds=delay),
        "refreshed_at": Now(),
        "version": F("version") + 1,
        "lease_until": None,
        "failures": 0,
        "last_error": "",
    }


def _field(name: str) -> EncryptedTextField:
    return cast("EncryptedTextField", OntraportAccount._meta.get_field(name))


def granted_scope(asked: str, grant: Grant) -> str:
    """Return the scope to record: narrower than asked is believed, wider is not (RFC 6749, 3.3)."""
    if grant.scope is None:
        return asked
    return " ".join(sorted(grant.scope & set(asked.split())))


def from_now(seconds: float) -> Any:
    """Return the expression for a time from now by the clock of the database."""
    return Now() + Value(timedelta(seconds=seconds))


def _keep(lease: Lease, grant: Grant, *, read: bool) -> OntraportAccount | None:
    account = lease.account
    if lease.callers_transaction:
        when_transaction_ends(lambda: _save_again(lease, grant))
    if not _save_first(lease, grant):
        return _drop(lease, grant, deliver=read)
    if account.failures:
        _record(lease, EventKind.RECOVERED, account.last_error)
    if lease.is_probe:
        _persist(lease, lambda: circuit_breaker.release(account.client_id))
    current = _current(lease) if read or account.failures or account_refreshed.has_listeners(OntraportAccount) else None
    if current is not None:
        account_refreshed.send_robust(sender=OntraportAccount, account=current)
        if account.failures:
            account_recovered.send_robust(sender=OntraportAccount, account=current)
    return current


def _save_first(lease: Lease, grant: Grant) -> bool:
    """Save, once more where something else than the database got in the way (Ctrl-C, a soft time limit): the grant exists nowhere else."""
    try:
        return _persist(lease, lambda: _save(lease, grant))
    except (DatabaseFailure, OntraportError):
        raise
    except BaseException:
        _persist(lease, lambda: _save(lease, grant))
        raise


def _save(lease: Lease, grant: Grant) -> bool:
    """Save, also when the lease has ended: nothing newer is in the row. Returns whether it is there; the answer to an earlier attempt
    may have been lost with the connection.
    """
    values = lease.columns_of(grant)
    return bool(
        lease.rows().update(**values, lease_owner=lease.receipt)
        or OntraportAccount.objects.using(alias()).filter(pk=lease.account.pk, lease_owner=lease.receipt).exists()
    )


def _save_again(lease: Lease, grant: Grant) -> None:
    """Save what a rollback has undone, or what could not be saved inside."""
    try:
        _persist(lease, lambda: lease.rows().update(**lease.columns_of(grant)))
    except DatabaseFailure:
        logger.exception("The tokens of account %s could not be saved after a rollback.", lease.account.uid)


def _drop(lease: Lease, grant: Grant, *, deliver: bool) -> OntraportAccount | None:
    """Revoke a grant that the row has no place for: it was disconnected or relinked. A sibling of the grant in use stays alone, since
    to revoke one may end both (RFC 7009, 2.1).
    """
    current = _current(lease)
    account = lease.account
    if current is not None and current.status == Status.CONNECTED and current.linked_at == account.linked_at:
        rows = OntraportAccount.objects.using(alias()).filter(pk=account.pk, lease_owner=lease.owner)
        _persist(lease, lambda: rows.update(lease_until=None))
        return current
    refresh_token = grant.refresh_token
    if refresh_token is not None:
        logger.info("Account %s was changed or disconnected during its refresh; the new grant is revoked.", account.uid)
        queued = _persist(lease, lambda: revoking.queue_revocation(account, refresh_token))
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
    failing = _update(lease, refresh_at=from_now(pause), failures=F("failures") + 1, last_error=error.code)
    if failing and not failures:
        _record(lease, EventKind.REFRESH_FAILING, error.code)


def _update(lease: Lease, **values: Any) -> bool:
    return bool(
        _persist(lease, lambda: lease.rows().filter(lease_owner=lease.owner).update(lease_until=None, **values))
    )


def _record(lease: Lease, kind: EventKind, detail: str) -> None:
    """Add to the history. An account that is deleted at this moment has no place for it, which must not undo what was saved."""
    try:
        with transaction.atomic(using=alias()):
            OntraportEvent.record(lease.account, kind, detail, using=alias())
    except DatabaseError:
        logger.exception("The history of account %s lacks: %s", lease.account.uid, kind)


def _current(lease: Lease) -> OntraportAccount | None:
    rows = OntraportAccount.objects.using(alias()).filter(pk=lease.account.pk)
    current: OntraportAccount | None = _persist(lease, rows.first)
    return current


def _persist(lease: Lease, step: Callable[[], T]) -> T:
    """Run a step, again and again while the database is away."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return step()
        except DATABASE_IS_AWAY:
            if in_transaction() or time.monotonic() > give_up:
                raise
            connections[alias()].close()
        time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # jitter
