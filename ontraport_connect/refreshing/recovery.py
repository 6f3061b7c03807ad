"""Bring accounts back: take over what came for a refresh token that was spent where its row could not be written, and reconsider
accounts that were marked by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models import F

from ontraport_connect.database import DATABASE_IS_AWAY, alias, in_transaction, row_lock
from ontraport_connect.exceptions import ReconnectRequired, SecretUnreadable
from ontraport_connect.models import Method, Now, OntraportAccount, Status
from ontraport_connect.monitoring import logger

from . import circuit_breaker, client_settings, installation, outcomes, spent_tokens, strikes
from .leases import TAKE_OVER_WITHIN, Lease, claim


def recover(lease: Lease, *, is_needed: bool = False) -> bool:
    """Look for a note on the token of a row that was just claimed. Returns true when nothing is to be sent: the row has taken the answer,
    or the token is being spent by somebody else and the lease was given back.
    """
    try:
        return _recover_lease(lease, is_needed=is_needed)
    except Exception:
        outcomes.let_go(lease)
        raise


def _recover_lease(lease: Lease, *, is_needed: bool) -> bool:
    account = lease.account
    if not vars(account).get("has_spent_token"):
        return False
    try:
        spent = spent_tokens.find(account)
        answers = [] if spent is None or not spent.is_answered else spent_tokens.answers(account, spent)
    except SecretUnreadable:
        return False
    if spent is None:  # the row holds another token by now
        spent_tokens.forget_account_on_commit(account.uid)
        return False
    if answers:
        outcomes.take_noted(lease, answers)
        return True
    if spent.until > lease.now() or not (is_needed or _ends_soon(lease)):
        outcomes.let_go(lease)
        return True
    spent_tokens.forget(spent.digest)
    return False


def _ends_soon(lease: Lease) -> bool:
    ends = lease.account.expires_at
    return ends is None or ends <= lease.now() + timedelta(seconds=TAKE_OVER_WITHIN)


def has_left() -> bool:
    """Tell whether an answer was noted in this request that its row may lack."""
    return bool(spent_tokens.left())


def recover_left() -> None:
    """Take over what was noted in this request, once its transaction has ended. Costs nothing where nothing was noted.

    What cannot be taken over now, by the state of the database or of the caller's transaction, is left to the beat task.
    """
    if not has_left() or in_transaction():
        return
    uids = spent_tokens.left()
    spent_tokens.forget_left()
    try:
        _recover(uids.intersection(spent_tokens.uids()))
    except DATABASE_IS_AWAY:
        logger.warning("Tokens that are kept beside their rows could not be taken over now; the beat task does that.")


def recover_all() -> int:
    """Take over every answer that is noted, and return how many accounts have answers left, since somebody holds their rows now."""
    _recover(spent_tokens.uids())
    return len(spent_tokens.uids(answered=True))


def _recover(uids: Iterable[UUID]) -> None:
    """Take over what is noted on each of these accounts. What fails with one is told to the log, and holds up no other."""
    for uid in uids:
        try:
            _recover_one(uid)
        except (*DATABASE_IS_AWAY, SoftTimeLimitExceeded):
            raise
        except Exception:  # noqa: BLE001  # code of the site runs with each statement, and may raise anything
            logger.exception("The tokens that are kept beside the row of account %s could not be taken over.", uid)


def _recover_one(uid: UUID) -> None:
    rows = OntraportAccount.objects.using(alias()).filter(uid=uid)
    account = rows.first()
    if account is None:
        spent_tokens.forget_abandoned(uid)
        return
    try:
        spent = spent_tokens.find(account)
    except SecretUnreadable:
        return
    if spent is not None and not spent.is_answered:
        return
    # An answer is safe to take whoever had the lease; a note on another token is only forgotten, which is no reason to take over.
    for lease in claim(rows, [account.pk], is_probe=False, is_needed=spent is not None):
        if not recover(lease):
            outcomes.let_go(lease)


def reconsider() -> list[int]:
    """Take accounts whose grant was said to have ended for connected again, due now, and return their ids. Rows that somebody holds are
    passed over.

    For an operator who has corrected a wrong client id or wrong endpoints: a grant that has really ended is marked again when its account
    is refreshed, and the circuit breaker believes that for an hour. Raises ``OntraportMisconfigured`` in a copy of another installation's
    database, where nothing changes.
    """
    installation.require_own_database()
    circuit_breaker.believe_ended_grants()
    rows: Any = OntraportAccount.objects.using(alias()).filter(
        client_settings.of_this_client(),
        method=Method.OAUTH,
        status=Status.NEEDS_RECONNECT,
        last_error=strikes.GRANT_ENDED,
        refresh_token__isnull=False,
    )
    with transaction.atomic(using=alias()):
        pks = sorted(rows.select_for_update(**row_lock()).values_list("pk", flat=True))
        rows.filter(pk__in=pks).update(
            status=Status.CONNECTED, refresh_at=Now(), failures=1, lease_until=None, version=F("version") + 1
        )
    return pks


def doubt(pks: Sequence[int], outcomes: Mapping[str, int]) -> bool:
    """Pause refreshing again where many accounts were reconsidered, and every one was told once more that its grant had ended: that is
    still for the operator to mend, or for Ontraport. Probes go on, with other accounts. Returns whether it is paused.
    """
    many = strikes.THRESHOLDS[strikes.GRANT_ENDED] - 1  # the account that opened the breaker was not marked
    if outcomes.get(strikes.GRANT_ENDED, 0) < many or {*outcomes} != {strikes.GRANT_ENDED}:
        return False
    strikes.doubt(strikes.GRANT_ENDED, pks)
    circuit_breaker.hold(ReconnectRequired("The grants of all of them ended.", code=strikes.GRANT_ENDED))
    return True
