"""The one place that spends a refresh token: the call, and the save of what came for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ontraport_connect import monitoring
from ontraport_connect.database import in_transaction, short_lock_waits
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import Status
from ontraport_connect.protocol import Transport

from . import client_settings, grants, outcomes
from .claiming import Seen
from .leases import SEND_WITHIN, Lease
from .outcomes import Outcome


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
        grants.require_storable(lease.account)
        refresh_token.reveal()
        client = client_settings.oauth_client(lease.account.client_id, lease.account.issuer)
        if lease.age() > SEND_WITHIN:
            return OntraportUnavailable("The lease was too old to send the request.", code=outcomes.LATE)
        return client.refresh(transport, refresh_token)
    except OntraportError as error:
        return error


def spend(lease: Lease) -> Seen | None:
    """Call in a thread of its own: a caller who is interrupted meanwhile (Ctrl-C, a soft time limit) saves what comes all the same."""
    with (
        client_settings.new_transport() as transport,
        ThreadPoolExecutor(1, thread_name_prefix="ontraport-call") as thread,
    ):
        try:
            future = thread.submit(monitoring.carried(call), lease, transport)
        except RuntimeError:  # no thread is left, or the process is ending
            outcomes.let_go(lease)
            raise OntraportUnavailable("No thread could be started.", code="no_thread", retry_after=5.0) from None
        try:
            outcome = future.result()
        except BaseException:
            _settle(lease, future.result(), read=False)
            raise
    current = _settle(lease, outcome)
    if current is None:
        return None
    is_anothers = current.version != lease.account.version and current.status == Status.CONNECTED
    return Seen(account=current, error=outcome if isinstance(outcome, OntraportError) and not is_anothers else None)


def _settle(lease: Lease, outcome: Outcome, *, read: bool = True) -> Any:
    """Save without waiting long for a row that somebody else holds."""
    if in_transaction():
        return outcomes.settle(lease, outcome, read=read)
    with short_lock_waits():
        return outcomes.settle(lease, outcome, read=read)
