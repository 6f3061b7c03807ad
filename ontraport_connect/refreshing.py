"""Keep tokens fresh: claim, call, save. The one place that spends a refresh token.

A refresh token may be spent once; spent twice, Ontraport ends the whole grant (RFC 9700, 4.14.2). So a row is claimed first, by one
conditional UPDATE that takes a lease by the clock of the database; then comes the call, with no transaction and no row lock held; then
one UPDATE, guarded by the lease's owner and the row's version, and committed at once (``saving``).
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import OperationalError, connections, transaction
from django.db.models import Q, Value
from django.db.models.functions import Now

from . import saving, service
from .conf import conf
from .database import alias, has_one_writer, in_transaction, on_own_connection
from .exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)
from .models import Method, OntraportAccount, Status
from .provider import Grant
from .saving import Lease
from .transport import Transport

LEASE_MARGIN = 15.0
"""Seconds that a lease outlives the longest possible call."""

LONG_WAIT = 1.0
"""Seconds after which who waits for another's refresh takes a token that is valid still."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The row as it is now, where there is no lease to be had: nothing is to be done, or (``busy``) somebody else is doing it."""

    account: OntraportAccount
    busy: bool = False


Wanted = Callable[[OntraportAccount, datetime], bool]


def ensure_fresh(account: OntraportAccount) -> None:
    """Leave ``account`` with a token that is valid for ``ONTRAPORT_LEEWAY`` seconds, refreshed if need be; one that is valid for less
    serves where no new one can be had.

    Raises ``ReconnectRequired``, ``OntraportUnavailable`` or ``OntraportMisconfigured`` when there is no valid token.
    """
    if account.status != Status.CONNECTED:
        raise ReconnectRequired("This Ontraport account needs to be connected again.")
    if account.is_valid_for(conf.ONTRAPORT_LEEWAY):
        return
    try:
        _refresh(account, _is_wanted)
    except (OntraportUnavailable, OntraportMisconfigured):
        if not account.is_valid_for(0):
            raise


def refresh(account: OntraportAccount) -> None:
    """Spend the refresh token of ``account`` unless somebody did since ``account`` was read, and leave ``account`` with the current tokens.

    Raises ``ReconnectRequired`` when the grant is gone, ``OntraportUnavailable`` when it could not be done now (the token is kept),
    ``OntraportMisconfigured`` when the operator has to act (the account is not touched).
    """
    _refresh(account, lambda current, now: True)


def _is_wanted(current: OntraportAccount, now: datetime) -> bool:
    """Tell, by the clock of the database, whether the token is about to end. Raises while the account backs off from a failure."""
    if current.expires_at is None or current.expires_at > now + timedelta(seconds=conf.ONTRAPORT_LEEWAY):
        return False
    if current.failures and current.refresh_at is not None and current.refresh_at > now:
        raise OntraportUnavailable(
            "The last refresh failed; the next attempt waits its turn.",
            code=current.last_error,
            retry_after=(current.refresh_at - now).total_seconds(),
        )
    return True


def _refresh(account: OntraportAccount, wanted: Wanted) -> None:
    if account.method != Method.OAUTH:
        return None
    started = time.monotonic()
    while True:
        found = _acquire(account, wanted)
        if isinstance(found, Lease):
            return _spend(account, found)
        if not found.busy:
            account.adopt(found.account)
            return _require_connected(account)
        waited = time.monotonic() - started
        if waited > LONG_WAIT and wanted is _is_wanted and found.account.is_valid_for(0):
            return account.adopt(found.account)
        if waited > longest_call() + LEASE_MARGIN + LONG_WAIT:
            raise OntraportUnavailable(
                "Another process is refreshing this account and did not end.", code="busy", retry_after=5.0
            )
        time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # jitter, not a secret


def _require_connected(account: OntraportAccount) -> None:
    if account.status != Status.CONNECTED:
        raise ReconnectRequired("This Ontraport account needs to be connected again.", code=account.last_error)


def longest_call() -> float:
    """Return the seconds that one call can take."""
    return float(sum(conf.ONTRAPORT_TIMEOUT))


def _acquire(account: OntraportAccount, wanted: Wanted) -> Lease | Seen:
    """Return a lease on the row, or the row where there is none to be had. Raises ``ReconnectRequired`` when it is gone."""
    found: Lease | Seen | None = None
    inside = in_transaction()
    try:
        if not (inside and has_one_writer()):
            found = on_own_connection(lambda: _claim_if_wanted(account, wanted, callers_transaction=False))
    except OperationalError as error:
        if not inside:
            raise _database_is_away(error) from error
    if found is None and inside:
        found = _acquire_inside(account, wanted)
    if found is None:
        raise ReconnectRequired("This Ontraport account was disconnected.", code="disconnected")
    return found


def _acquire_inside(account: OntraportAccount, wanted: Wanted) -> Lease | Seen | None:
    """Claim in the caller's transaction a row that no other connection can see, or have, while that transaction is open."""
    try:
        with transaction.atomic(using=alias()):
            OntraportAccount.objects.using(alias()).select_for_update(nowait=True, of=("self",)).filter(
                pk=account.pk
            ).first()
            return _claim_if_wanted(account, wanted, callers_transaction=True)
    except OperationalError as error:
        raise _database_is_away(error) from error


def _database_is_away(error: OperationalError) -> OntraportUnavailable:
    if not in_transaction():
        connections[alias()].close_if_unusable_or_obsolete()
    return OntraportUnavailable("The database did not let this account be claimed.", code="database", retry_after=1.0)


def _claim_if_wanted(account: OntraportAccount, wanted: Wanted, *, callers_transaction: bool) -> Lease | Seen | None:
    current = (
        OntraportAccount.objects.using(alias()).select_related("user").annotate(now=Now()).filter(pk=account.pk).first()
    )
    if current is None:
        return None
    if current.version != account.version or current.status != Status.CONNECTED:
        return Seen(account=current)
    if not current.tenant and (current.user is None or not current.user.is_active):
        raise OntraportRejected("The owner of this Ontraport account is not active.", code="inactive_user")
    if current.lease_until is not None and current.lease_until > current.now:
        return Seen(account=current, busy=True)
    if not wanted(current, current.now):
        return Seen(account=current)
    is_probe = service.enter()
    return claim(current, is_probe=is_probe, callers_transaction=callers_transaction) or Seen(
        account=current, busy=True
    )


def claim(current: OntraportAccount, *, is_probe: bool, callers_transaction: bool = False) -> Lease | None:
    """Take the lease on a row just read, by one UPDATE; ``None`` when somebody else has it or the row has changed."""
    owner = secrets.token_hex(16)
    duration = longest_call() + LEASE_MARGIN
    free = Q(lease_until=None) | Q(lease_until__lte=Now())
    send_before = time.monotonic() + LEASE_MARGIN
    claimed = (
        OntraportAccount.objects.using(alias())
        .filter(free, pk=current.pk, version=current.version, status=Status.CONNECTED)
        .update(lease_owner=owner, lease_until=Now() + Value(timedelta(seconds=duration)))
    )
    if not claimed:
        return None
    return Lease(
        account=current,
        owner=owner,
        send_before=send_before,
        callers_transaction=callers_transaction,
        is_probe=is_probe,
    )


def call(lease: Lease, transport: Transport) -> Grant | OntraportError:
    """Send the one request that spends the refresh token. Touches no database, so that a pool of threads can do it."""
    refresh_token = lease.account.refresh_token
    if refresh_token is None:
        return ReconnectRequired(
            "Ontraport gave no refresh token for this link, and its access token ends.", code="no_refresh_token"
        )
    if time.monotonic() > lease.send_before:
        return OntraportUnavailable("The lease ended before the request was sent.", code="late")
    try:
        return service.client(lease.account.client_id).refresh(transport, refresh_token)
    except OntraportError as error:
        return error


def _spend(account: OntraportAccount, lease: Lease) -> None:
    with service.new_transport() as transport:
        outcome = call(lease, transport)
    current = saving.settle(lease, outcome)
    if current is None:
        raise ReconnectRequired("This Ontraport account was disconnected.", code="disconnected")
    account.adopt(current)
    if isinstance(outcome, OntraportError) and current.version in {lease.account.version, lease.account.version + 1}:
        raise outcome
    _require_connected(account)
