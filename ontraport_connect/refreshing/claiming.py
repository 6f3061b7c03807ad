"""Look at one row and claim it, or say why it cannot be claimed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable, SecretUnreadable
from ontraport_connect.models import Now, OntraportAccount, Status, is_active, with_users

from . import circuit_breaker, client_settings, installation, spent_tokens, strikes
from .leases import TAKE_OVER_WITHIN, Lease, claim
from .recovery import recover


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The row as it is now, and why nobody needs to, or can, refresh it: ``busy``, somebody else is; ``locked``, a transaction holds it."""

    account: Any
    error: OntraportError | None = None
    busy: bool = False
    locked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """Why an account is to be refreshed. ``forced``: although its token is still valid; ``refused``: Ontraport refused that token."""

    forced: bool = False
    refused: bool = False


def is_busy() -> OntraportUnavailable:
    return OntraportUnavailable("Another process is refreshing this account.", code="busy", retry_after=5.0)


def claim_or_see(account: OntraportAccount, wish: Wish, *, owner: str | None = None) -> Lease | Seen | None:
    """Return a lease on the row, or the row where there is none to be had, or ``None`` where there is no row. For ``owner`` see
    ``leases.claim``.
    """
    rows = OntraportAccount.objects.using(alias()).filter(pk=account.pk)
    current: Any = with_users(rows).annotate(now=Now()).first()
    if current is None:
        return None
    return _look(current, account, wish) or _claim(rows, current, wish, owner)


def _look(current: Any, account: OntraportAccount, wish: Wish) -> Seen | None:
    """Return the row where it needs no refresh, or cannot be refreshed now. Raises where nobody may refresh it."""
    is_changed = current.version != account.version
    if current.status != Status.CONNECTED or (is_changed and (wish.forced or not _is_due(current))):
        return Seen(account=current)
    if not current.tenant and not is_active(current.user):
        raise OntraportRejected("The owner of this Ontraport account is not active.", code="inactive_user")
    if current.lease_until is not None:
        installation.require_own_database()  # in a copy it is that of the original's process, which never gives it back here
        if current.lease_until > current.now:
            return Seen(account=current, busy=True)
    if wish.refused:
        _require_turn(current)
    elif not wish.forced and not _is_due(current):
        return Seen(account=current)
    if current.lease_until is not None and not wish.refused and _serves_still(current):
        return Seen(account=current, error=_is_abandoned(current))
    return None


def _claim(rows: Any, current: Any, wish: Wish, owner: str | None) -> Lease | Seen | None:
    client_settings.oauth_client(current.client_id, current.issuer)
    leases = claim(
        rows.filter(version=current.version),
        [current.pk],
        is_probe=circuit_breaker.enter(current),
        is_needed=wish.refused,
        owner=owner,
    )
    if not leases:
        return Seen(account=current, busy=True, locked=True)
    if not recover(leases[0], is_needed=wish.refused):
        return leases[0]
    recovered = rows.annotate(now=Now()).first()
    if recovered is None or recovered.version != current.version:
        return _look_again(recovered, wish, owner)
    spent = spent_tokens.find(recovered)
    is_abandoned = spent is not None and spent.until <= recovered.now
    return Seen(account=recovered, error=_is_abandoned(recovered) if is_abandoned else None, busy=not is_abandoned)


def _look_again(recovered: Any, wish: Wish, owner: str | None) -> Lease | Seen | None:
    """What came long ago may have expired since, and the row may be gone."""
    if recovered is not None and _is_due(recovered):
        return claim_or_see(recovered, wish, owner=owner)
    return None if recovered is None else Seen(account=recovered)


def _is_due(current: Any) -> bool:
    """Tell, by the clock of the database, whether the token is about to end. Raises while the account backs off from a failure."""
    if current.expires_at is None or current.expires_at > current.now + timedelta(seconds=conf.ONTRAPORT_LEEWAY):
        return False
    _require_turn(current)
    return True


def _require_turn(current: Any) -> None:
    if strikes.is_backing_off(current) and current.last_error != SecretUnreadable.default_code:
        raise OntraportUnavailable(
            "The last refresh failed; the next attempt waits its turn.",
            code=current.last_error,
            retry_after=(current.refresh_at - current.now).total_seconds(),
        )


def _serves_still(current: Any) -> bool:
    return current.expires_at is not None and current.expires_at > current.now + timedelta(seconds=TAKE_OVER_WITHIN)


def _is_abandoned(current: Any) -> OntraportUnavailable:
    """Say why an account is left alone whose lease nobody gave back: its refresh token may be spent, and a second use ends the link."""
    wait = (current.expires_at - current.now).total_seconds() - TAKE_OVER_WITHIN
    return OntraportUnavailable(
        "A process took this account to refresh it and has not come back; its refresh token may be spent. The access token still"
        " serves, so the refresh is tried again only shortly before that ends.",
        code="busy",
        retry_after=wait,
    )
