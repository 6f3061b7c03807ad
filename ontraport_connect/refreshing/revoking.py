"""Revoke grants that this site no longer uses (RFC 7009), and retry until Ontraport has answered.

Revoking one token may end every grant of the same person and client (RFC 7009, 2.1). So a grant is not revoked while a connected account
may share it: ``deliver_revocation`` decides that, because only at that moment is it known which accounts are left. The grant then ends
with the last of the accounts that share it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from uuid import UUID

from django.db.models import F, Value
from django.utils import timezone

from ontraport_connect.conf import conf
from ontraport_connect.database import alias, unless_locked
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import Method, Now, OntraportAccount, OntraportRevocation
from ontraport_connect.monitoring import logger

from . import client_settings, installation, strikes
from .new_grants import is_grant_being_made, is_on_its_way
from .row_locks import left_if_locked
from .shared_grants import owner_key, person_key, sharing, to_reconsider

KEEP_TRYING = timedelta(days=7)
LONGEST_PAUSE = 3600.0
"""Seconds, at most, between two attempts."""

LINKING_PAUSE = 5.0
"""Seconds, at most, for which a revocation waits while an account is being linked."""

MAX_RUN_TIME = 60.0
"""Seconds after which one run of the task leaves the remaining revocations to the next run."""


class _Result(Enum):
    REVOKED = "revoked"
    DROPPED = "dropped"
    KEPT = "kept"


class _NotNow(OntraportUnavailable):
    """Nothing was sent. ``longest`` is after how many seconds, at most, the revocation is looked at again."""

    def __init__(self, message: str, *, code: str, longest: float) -> None:
        super().__init__(message, code=code)
        self.longest = longest


def _issuer() -> str:
    """Return what names the configured authorization server; empty when its endpoints are invalid."""
    try:
        return client_settings.issuer()
    except OntraportMisconfigured:
        return ""


def can_revoke() -> bool:
    """Tell whether Ontraport can be told to end a grant: the configured endpoints have a revocation endpoint."""
    try:
        return client_settings.endpoints().revocation_endpoint is not None
    except OntraportMisconfigured:
        return False


def _new_revocation(account: OntraportAccount) -> OntraportRevocation:
    return OntraportRevocation(
        account_uid=account.uid,
        client_id=account.client_id or conf.ONTRAPORT_CLIENT_ID or "",
        issuer=account.issuer or _issuer(),
        ontraport_id=account.ontraport_id,
        owner=owner_key(account),
        person=person_key(account),
    )


def queue_revocation(account: OntraportAccount, refresh_token: Secret, using: str | None = None) -> OntraportRevocation:
    """Store a grant for revocation, encrypted, in the caller's transaction.

    Raises ``SecretUnreadable`` or ``OntraportMisconfigured`` before any statement is executed, so that the transaction stays usable.
    """
    revocation = _new_revocation(account)
    column = OntraportRevocation._meta.get_field("refresh_token")
    setattr(revocation, column.attname, column.seal_for(revocation.uid, refresh_token))
    revocation.save(using=using or alias())
    return revocation


def is_grant_shared(account: OntraportAccount) -> bool:
    """Tell whether another connected account may share the grant of ``account``, so that disconnecting it does not revoke the grant."""
    if account.method != Method.OAUTH:
        return False
    return bool(sharing(_new_revocation(account)).exclude(uid=account.uid).exists())


def deliver_revocation(revocation: OntraportRevocation) -> bool:
    """Revoke one grant at Ontraport, unless a connected account may share it. Returns whether nothing is left to do.

    Otherwise the row is kept for a retry, for a week at most. In a copy of another installation's database nothing is sent, and the row
    stays as it is.
    """
    return _deliver(revocation) is not _Result.KEPT


def deliver_revocations_of(account_uid: UUID) -> int:
    """Deliver the revocations of one account, whether they are due or not. Returns the number of revoked grants."""
    rows = OntraportRevocation.objects.using(alias()).filter(account_uid=account_uid)
    return sum(_deliver(row) is _Result.REVOKED for row in rows)


def _deliver(revocation: OntraportRevocation) -> _Result:
    if not installation.is_own_database(anew=True):
        return _Result.KEPT
    row = OntraportRevocation.objects.using(alias()).filter(pk=revocation.pk)
    result = _Result.DROPPED
    try:
        if not _is_shared(revocation):  # else nothing is sent, whatever changes meanwhile
            if not unless_locked(lambda: row.exclude(is_on_its_way()).update(sent_at=Now())):
                return _Result.KEPT if row.exists() else _Result.DROPPED  # somebody else is sending it, or has
            if is_grant_being_made():
                raise _NotNow(
                    "Somebody is linking an account, and might share it.", code="linking", longest=LINKING_PAUSE
                )
            result = _revoke_unless_shared(revocation, revocation.refresh_token)
    except OntraportError as error:
        _postpone(revocation, error)
        return _Result.KEPT
    row.delete()
    return result


def _is_shared(revocation: OntraportRevocation) -> bool:
    is_shared = bool(sharing(revocation).exists())
    if is_shared:
        logger.info("A grant of account %s is not revoked: a connected account may share it.", revocation.account_uid)
    return is_shared


def _revoke_unless_shared(revocation: OntraportRevocation, refresh_token: Secret) -> _Result:
    if _is_shared(revocation):
        return _Result.DROPPED
    if to_reconsider(revocation).exists():
        raise _NotNow("An account that may come back may share it.", code="shared_with_marked", longest=LONGEST_PAUSE)
    client_settings.require_issuer(revocation.issuer)
    if client_settings.endpoints().revocation_endpoint is None:
        logger.warning(
            "A grant of account %s is not revoked: ONTRAPORT_ENDPOINTS has no revocation endpoint.",
            revocation.account_uid,
        )
        return _Result.DROPPED
    with client_settings.new_transport() as transport:
        client_settings.oauth_client(revocation.client_id, may_differ=True).revoke(transport, refresh_token)
    return _Result.REVOKED


def revoke_grant(account: OntraportAccount, refresh_token: Secret) -> None:
    """Do what ``deliver_revocation`` does, once, without storing anything. ``account`` need not be saved. Raises ``OntraportError``."""
    installation.require_own_database(anew=True)
    _revoke_unless_shared(_new_revocation(account), refresh_token)


def _postpone(revocation: OntraportRevocation, error: OntraportError) -> None:
    if revocation.created_at + KEEP_TRYING < timezone.now():
        logger.error("Gave up revoking the grant of account %s at Ontraport: %s", revocation.account_uid, error.code)
        OntraportRevocation.objects.using(alias()).filter(pk=revocation.pk).delete()
        return
    tried = 0 if isinstance(error, _NotNow) else 1
    longest = (
        error.longest if isinstance(error, _NotNow) else min(LONGEST_PAUSE, 30 * 2 ** min(revocation.attempts, 10))
    )
    pause = max(random.uniform(1, longest), getattr(error, "retry_after", None) or 0)  # noqa: S311  # jitter, not a secret
    answered = {} if error.code in strikes.NO_ANSWER else {"sent_at": None}
    OntraportRevocation.objects.using(alias()).filter(pk=revocation.pk).update(
        **answered, attempts=F("attempts") + tried, try_at=Now() + Value(timedelta(seconds=pause))
    )


def deliver_revocations(limit: int, seconds: float = MAX_RUN_TIME) -> int:
    """Deliver up to ``limit`` revocations that are due, oldest first, within about ``seconds``. Returns the number of revoked grants."""
    stop_at = time.monotonic() + seconds
    due = OntraportRevocation.objects.using(alias()).filter(try_at__lte=Now()).exclude(is_on_its_way())
    revoked = 0
    for pk in list(due.order_by("try_at").values_list("pk", flat=True)[:limit]):
        if time.monotonic() >= stop_at:
            break
        for revocation in due.filter(pk=pk):  # unless it was delivered meanwhile
            with left_if_locked(f"the revocation for account {revocation.account_uid}"):
                revoked += _deliver(revocation) is _Result.REVOKED
    return revoked


def deliver_every_revocation() -> Iterator[str]:
    """Deliver each revocation once, due or not, the least tried first. Yields "revoked", "dropped" or "kept" for each."""
    rows = OntraportRevocation.objects.using(alias())
    for pk in list(rows.order_by("attempts", "pk").values_list("pk", flat=True)):
        for revocation in rows.filter(pk=pk):  # unless it was delivered meanwhile
            yield _deliver(revocation).value
