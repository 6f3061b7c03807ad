"""Refresh one account: claim its row, spend the refresh token, save the answer.

A refresh token may be spent once; spent twice, Ontraport ends the whole grant (RFC 9700, 4.14.2). So the row is claimed first (``leases``);
then comes the call, with no transaction and no row lock held; then the answer is saved and committed at once (``outcomes``).
"""

from __future__ import annotations

import random
import time

from django.db import Error as DatabaseFailure
from django.db import transaction

from ontraport_connect.conf import conf
from ontraport_connect.database import (
    alias,
    has_one_writer,
    in_transaction,
    on_own_connection,
    one_database,
    unavailable_while_away,
    while_waiting,
)
from ontraport_connect.exceptions import (
    OntraportMisconfigured,
    OntraportUnavailable,
    ReconnectRequired,
)
from ontraport_connect.models import Method, OntraportAccount, Status

from . import outcomes, spent_tokens
from .claiming import Seen, Wish, claim_or_see, is_busy
from .leases import Lease, longest_call
from .notes import new_note
from .spending import spend, unsent_given_back
from .spent_token_stores import SpentToken

LOCK_WAIT = 0.1
"""Seconds after which a locked row is taken to be held by the caller's own transaction."""

LONG_WAIT = 1.0
"""Seconds after which whoever waits for another refresh takes a token that is still valid."""


def ensure_fresh(account: OntraportAccount) -> None:
    """Leave ``account`` with a token that is valid for ``ONTRAPORT_LEEWAY`` seconds, refreshed if need be. A token that is valid for less
    serves where no new one can be had, and inside a transaction on SQLite.

    Raises ``ReconnectRequired``, ``OntraportUnavailable`` or ``OntraportMisconfigured`` when there is no valid token.
    """
    if account.status != Status.CONNECTED:
        raise ReconnectRequired("This Ontraport account needs to be connected again.")
    if is_fresh(account):
        return
    if account.is_valid_for(0) and has_one_writer() and in_transaction():
        return
    try:
        _refresh(account, Wish())
    except (OntraportUnavailable, OntraportMisconfigured):
        if not account.is_valid_for(0):
            raise


def is_fresh(account: OntraportAccount) -> bool:
    """Tell whether ``ensure_fresh`` has nothing to do."""
    return account.status == Status.CONNECTED and account.is_valid_for(conf.ONTRAPORT_LEEWAY)


def refresh(account: OntraportAccount) -> None:
    """Spend the refresh token of ``account`` unless somebody did since ``account`` was read, and leave ``account`` with the current tokens.

    Raises ``ReconnectRequired`` when the grant is gone, ``OntraportUnavailable`` when it could not be done now (the token is kept),
    ``OntraportMisconfigured`` when the operator has to act (the account is not touched).
    """
    _refresh(account, Wish(forced=True))


def replace_refused(account: OntraportAccount) -> None:
    """Do what ``refresh`` does, because Ontraport refused the access token that ``account`` holds. Raises the same."""
    _refresh(account, Wish(forced=True, refused=True))


def _refresh(account: OntraportAccount, wish: Wish) -> None:
    if account.method != Method.OAUTH:
        return
    with one_database(), unavailable_while_away():
        seen = _refresh_somewhere(account, wish)
    if seen is None:
        raise ReconnectRequired("This Ontraport account was disconnected.", code="disconnected")
    account.adopt(seen.account)
    if seen.error is not None:
        raise seen.error
    if account.status != Status.CONNECTED:
        raise ReconnectRequired("This Ontraport account needs to be connected again.", code=account.last_error)


def _refresh_somewhere(account: OntraportAccount, wish: Wish) -> Seen | None:
    """Refresh outside of the caller's transaction, or else inside it."""
    if not in_transaction():
        return _take_turn(account, wish)
    if not has_one_writer():
        seen = on_own_connection(lambda: _take_turn(account, wish, is_inside=True))
        if seen is not None:
            return seen
    return _refresh_inside(account, wish)


def _take_turn(account: OntraportAccount, wish: Wish, *, is_inside: bool = False) -> Seen | None:
    """Refresh, or wait for who does. ``None``: the row is gone, or only the caller's transaction (``is_inside``) can see or change it."""
    started = time.monotonic()
    while True:
        with unsent_given_back(account.pk) as (owner, future):
            found = claim_or_see(account, wish, owner=owner)
            if isinstance(found, Lease):
                return spend(found, future)
        if found is not None and is_inside and found.account.version < account.version:
            return None  # the caller's transaction has refreshed it, and has not committed that yet
        if found is None or not found.busy:
            return found
        waited = time.monotonic() - started
        if found.locked and is_inside and waited > LOCK_WAIT:
            return None
        if waited > LONG_WAIT and not wish.forced and found.account.expires_at > found.account.now:
            return found
        if waited > longest_call() + LONG_WAIT:
            raise is_busy()
        with while_waiting():
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # jitter, not a secret


def _refresh_inside(account: OntraportAccount, wish: Wish) -> Seen | None:
    """Refresh in the caller's transaction a row that no other connection can see, or change, while that transaction is open.

    A rollback brings the spent token back into the row. So a note outside the transaction says first that the token is spent; where none
    can be made, nothing is sent. To wait for another process would be in vain: what that one saves waits for this transaction.
    """
    with unsent_given_back(account.pk) as (owner, future):
        with transaction.atomic(using=alias()):
            OntraportAccount.objects.using(alias()).select_for_update(nowait=True).filter(pk=account.pk).first()
            found = claim_or_see(account, wish, owner=owner)
        if found is None or (isinstance(found, Seen) and not found.busy):
            return found
        if isinstance(found, Seen):
            raise is_busy()
        spent = new_note(found)
        error = _failure_to_note(spent)
        if error is not None:
            outcomes.let_go(found)
            raise error
        return spend(found.guarded_by(spent), future)


def _failure_to_note(spent: SpentToken) -> OntraportUnavailable | None:
    """Note that a token is about to be spent; return why it must not be, where somebody else has noted that or nothing can be noted."""
    try:
        return None if spent_tokens.begin(spent) else is_busy()
    except DatabaseFailure as error:
        unavailable = OntraportUnavailable(
            "This transaction holds the account, and nothing could be noted outside of it; nothing was sent.",
            code="database",
            retry_after=1.0,
        )
        unavailable.__cause__ = error
        return unavailable
