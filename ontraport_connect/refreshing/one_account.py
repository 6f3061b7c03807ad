"""Keep tokens fresh: claim, call, save. The one place that spends a refresh token.

A refresh token may be spent once; spent twice, Ontraport ends the whole grant (RFC 9700, 4.14.2). So a row is claimed first, by one
conditional UPDATE that takes a lease by the clock of the database; then comes the call, with no transaction and no row lock held; then
one UPDATE, guarded by the row's version, and committed at once (``saving``).
"""

from __future__ import annotations

import random
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Now

from ontraport_connect.conf import conf
from ontraport_connect.database import (
    alias,
    has_one_writer,
    in_transaction,
    on_own_connection,
    row_lock,
    run_steps_of_ending,
    unavailable_while_away,
)
from ontraport_connect.encryption import current_key_id
from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
    SecretUnreadable,
)
from ontraport_connect.models import Method, OntraportAccount, Status, is_active
from ontraport_connect.protocol import Transport

from . import circuit_breaker, client_settings, outcomes
from .outcomes import Lease, Outcome

SEND_WITHIN = 15.0
"""Seconds after its claim in which a refresh token may be sent. A process that was stopped for longer sends nothing."""

SAVE_WITHIN = 30.0
"""Seconds that a lease leaves for saving the answer, after the longest call: a database may be restarting."""

LONG_WAIT = 1.0
"""Seconds after which who waits for another's refresh takes a token that is valid still."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The row as it is now, and why nobody needs to, or can, refresh it: ``busy``, somebody else is; ``locked``, a transaction holds it."""

    account: Any
    error: OntraportError | None = None
    busy: bool = False
    locked: bool = False


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
        _refresh(account, forced=False)
    except (OntraportUnavailable, OntraportMisconfigured):
        if not account.is_valid_for(0):
            raise


def refresh(account: OntraportAccount) -> None:
    """Spend the refresh token of ``account`` unless somebody did since ``account`` was read, and leave ``account`` with the current tokens.

    Raises ``ReconnectRequired`` when the grant is gone, ``OntraportUnavailable`` when it could not be done now (the token is kept),
    ``OntraportMisconfigured`` when the operator has to act (the account is not touched).
    """
    _refresh(account, forced=True)


def _refresh(account: OntraportAccount, *, forced: bool) -> None:
    if account.method != Method.OAUTH:
        return
    with unavailable_while_away():
        seen = _refresh_somewhere(account, forced=forced)
    if seen is None:
        raise ReconnectRequired("This Ontraport account was disconnected.", code="disconnected")
    account.adopt(seen.account)
    if seen.error is not None:
        raise seen.error
    if account.status != Status.CONNECTED:
        raise ReconnectRequired("This Ontraport account needs to be connected again.", code=account.last_error)


def _refresh_somewhere(account: OntraportAccount, *, forced: bool) -> Seen | None:
    """Refresh outside of the caller's transaction, or else inside it."""
    is_inside = in_transaction()
    seen = None
    if not (is_inside and has_one_writer()):
        seen = on_own_connection(lambda: _take_turn(account, forced=forced, is_inside=is_inside))
    return _refresh_inside(account, forced=forced) if seen is None and is_inside else seen


def _take_turn(account: OntraportAccount, *, forced: bool, is_inside: bool) -> Seen | None:
    """Refresh, or wait for who does. ``None``: the row is gone, or only the caller's transaction (``is_inside``) can see or change it."""
    started = time.monotonic()
    while True:
        found = _claim_or_see(account, forced=forced, callers_transaction=False)
        if isinstance(found, Lease):
            return _spend(found)
        if found is None or not found.busy:
            return found
        waited = time.monotonic() - started
        if waited > LONG_WAIT:
            if found.locked and is_inside:
                return None
            if not forced and found.account.expires_at > found.account.now:
                return found
        if waited > longest_call() + LONG_WAIT:
            raise _is_busy()
        time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # jitter, not a secret


def _refresh_inside(account: OntraportAccount, *, forced: bool) -> Seen | None:
    """Refresh in the caller's transaction a row that no other connection can see, or change, while that transaction is open.

    To wait for another process would be in vain: what that one saves waits for this transaction.
    """
    with transaction.atomic(using=alias()):
        run_steps_of_ending()
        OntraportAccount.objects.using(alias()).select_for_update(nowait=True).filter(pk=account.pk).first()
        found = _claim_or_see(account, forced=forced, callers_transaction=True)
    if isinstance(found, Lease):
        return _spend(found)
    if found is not None and found.busy:
        raise _is_busy()
    return found


def _is_busy() -> OntraportUnavailable:
    return OntraportUnavailable("Another process is refreshing this account.", code="busy", retry_after=5.0)


def _claim_or_see(account: OntraportAccount, *, forced: bool, callers_transaction: bool) -> Lease | Seen | None:
    """Return a lease on the row, or the row where there is none to be had, or ``None`` where there is no row."""
    rows = OntraportAccount.objects.using(alias()).filter(pk=account.pk)
    current: Any = rows.select_related("user").annotate(now=Now()).first()
    if current is None:
        return None
    if current.status != Status.CONNECTED or (current.version != account.version and (forced or not _is_due(current))):
        return Seen(account=current)
    if not current.tenant and not is_active(current.user):
        raise OntraportRejected("The owner of this Ontraport account is not active.", code="inactive_user")
    if current.lease_until is not None and current.lease_until > current.now:
        return Seen(account=current, busy=True)
    if not forced and not _is_due(current):
        return Seen(account=current)
    leases = claim(
        rows.filter(version=current.version),
        [account.pk],
        is_probe=circuit_breaker.enter(),
        callers_transaction=callers_transaction,
    )
    return leases[0] if leases else Seen(account=current, busy=True, locked=True)


def _is_due(current: Any) -> bool:
    """Tell, by the clock of the database, whether the token is about to end. Raises while the account backs off from a failure."""
    if current.expires_at is None or current.expires_at > current.now + timedelta(seconds=conf.ONTRAPORT_LEEWAY):
        return False
    if (
        current.failures
        and current.last_error != SecretUnreadable.default_code
        and current.refresh_at is not None
        and current.refresh_at > current.now
    ):
        raise OntraportUnavailable(
            "The last refresh failed; the next attempt waits its turn.",
            code=current.last_error,
            retry_after=(current.refresh_at - current.now).total_seconds(),
        )
    return True


def longest_call() -> float:
    """Return the seconds that one call can take."""
    return float(sum(conf.ONTRAPORT_TIMEOUT))


def claim(rows: Any, pks: list[int], *, is_probe: bool, callers_transaction: bool = False) -> list[Lease]:
    """Take a lease on those of ``rows`` with ``pks`` that nobody holds, by one UPDATE, and return them as they are then.

    A row that is locked by an open transaction is passed over: waiting for it could take any time.
    """
    owner = secrets.token_hex(15)
    claimed_at = outcomes.seconds()
    duration = timedelta(seconds=SEND_WITHIN + longest_call() + SAVE_WITHIN)
    accounts = OntraportAccount.objects.using(alias()).filter(pk__in=pks)
    is_free = Q(lease_until=None) | Q(lease_until__lte=Now())
    with transaction.atomic(using=alias()):
        free = rows.filter(is_free, pk__in=pks, status=Status.CONNECTED).select_for_update(**row_lock())
        claimed = accounts.filter(pk__in=free.order_by().values("pk")).update(
            lease_owner=owner, lease_until=Now() + Value(duration)
        )
    if not claimed:
        return []
    return [
        Lease(
            account=account,
            owner=owner,
            claimed_at=claimed_at,
            callers_transaction=callers_transaction,
            is_probe=is_probe,
        )
        for account in accounts.filter(lease_owner=owner).annotate(now=Now()).order_by("refresh_at", "pk")
    ]


def call(lease: Lease, transport: Transport) -> Outcome:
    """Send the one request that spends the refresh token. Touches no database, so that a pool of threads can do it.

    What could keep the new tokens from being saved is found out before: once they are here they exist nowhere else.
    """
    refresh_token = lease.account.refresh_token
    if refresh_token is None:
        return ReconnectRequired(
            "Ontraport gave no refresh token for this link, and its access token ends.", code="no_refresh_token"
        )
    try:
        current_key_id()
        refresh_token.reveal()
        client = client_settings.oauth_client(lease.account.client_id)
        if lease.age() > SEND_WITHIN:
            return OntraportUnavailable("The lease was too old to send the request.", code=outcomes.LATE)
        return client.refresh(transport, refresh_token)
    except OntraportError as error:
        return error


def _spend(lease: Lease) -> Seen | None:
    """Call in a thread of its own: who is interrupted meanwhile (Ctrl-C, a soft time limit) saves what comes all the same."""
    with (
        client_settings.new_transport() as transport,
        ThreadPoolExecutor(1, thread_name_prefix="ontraport-call") as thread,
    ):
        try:
            future = thread.submit(call, lease, transport)
        except RuntimeError:  # no thread is left, or the process is ending
            outcomes.let_go(lease)
            raise OntraportUnavailable("No thread could be started.", code="no_thread", retry_after=5.0) from None
        try:
            outcome = future.result()
        except BaseException:
            outcomes.settle(lease, future.result(), read=False)
            raise
    current = outcomes.settle(lease, outcome)
    if current is None:
        return None
    is_anothers = current.version != lease.account.version and current.status == Status.CONNECTED
    return Seen(account=current, error=outcome if isinstance(outcome, OntraportError) and not is_anothers else None)
