"""A record of refresh tokens that were spent while their row could not be written for good. It outlives every rollback.

A refresh inside the caller's transaction, of a row that this transaction made or holds, is undone when the transaction is: the row then
shows the spent token again. So the token is noted here, on its own, before it is sent, and the answer is noted when it comes. Whoever
claims the row later finds the note, and takes the answer instead of spending the token again. An answer that cannot be saved because
somebody else holds the row is kept here, too.

On a server database the notes are rows of ``OntraportSpentToken``, written on a connection of their own. SQLite has one writer, which the
caller's transaction is: there the notes are in a small database beside it, or in memory where the database is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Value
from django.utils import timezone

from ontraport_connect.database import alias, has_one_writer, in_transaction, on_own_connection, short_lock_waits
from ontraport_connect.encryption import Sealed, Secret, StoredSecret
from ontraport_connect.exceptions import SecretUnreadable
from ontraport_connect.models import OntraportAccount, OntraportSpentToken

from .spent_token_stores import Rows, SpentToken, Sqlite, sqlite_store

T = TypeVar("T")

ABANDONED_AFTER = timedelta(days=1)
"""No transaction is open for longer than this."""

_left: ContextVar[frozenset[UUID]] = ContextVar("ontraport_left", default=frozenset())
"""Accounts whose answer was noted in this context, and may have to be taken over once its transaction has ended."""


def digest_of(account: OntraportAccount) -> str:
    """Return what a note is found by. Raises ``SecretUnreadable``. Tells nothing of the token, which is random text."""
    return _digest(account, account.refresh_token)


def _digest(account: OntraportAccount, token: Secret | None) -> str:
    text = "" if token is None else token.reveal()
    return hashlib.sha256(f"{account.uid}:{text}".encode(errors="surrogatepass")).hexdigest()


def annotated(accounts: Any) -> Any:
    """Add ``has_spent_token`` to accounts, in the query itself where that is possible."""
    if has_one_writer():
        return accounts.annotate(has_spent_token=Value(value=sqlite_store().exists()))
    return accounts.annotate(has_spent_token=Exists(OntraportSpentToken.objects.filter(account_uid=OuterRef("uid"))))


def find(account: OntraportAccount) -> SpentToken | None:
    """Return the note on the refresh token that ``account`` holds."""
    return _find(digest_of(account))


def _find(digest: str) -> SpentToken | None:
    return _store(lambda store: store.find(digest))


def begin(spent: SpentToken) -> bool:
    """Note that a token is about to be sent. Returns false when it is noted already. Raises a database error when it cannot be noted."""
    return _store(lambda store: store.add(spent))


def keep(spent: SpentToken) -> None:
    """Note an answer, whether or not ``begin`` was called before."""
    _left.set(_left.get() | {spent.account_uid})
    _store(lambda store: store.put(spent))


def answers(
    account: OntraportAccount, spent: SpentToken, find: Callable[[str], SpentToken | None] = _find
) -> list[SpentToken]:
    """Return the answered note ``spent`` and those on the tokens that came for it, oldest first: a transaction that is rolled back may have
    refreshed its account more than once. They end where a token came again, or cannot be read here (a process without the newest key).
    """
    found = {spent.digest: spent}
    while (digest := _digest_of_what_came(account, spent)) is not None and digest not in found:
        following = find(digest)
        if following is None or not following.is_answered:
            break
        found[digest] = spent = following
    return [*found.values()]


def _digest_of_what_came(account: OntraportAccount, spent: SpentToken) -> str | None:
    token = _refresh_token_of(account, spent)
    try:
        return None if token is None else _digest(account, token)
    except SecretUnreadable:
        return None


def _refresh_token_of(account: OntraportAccount, spent: SpentToken) -> Secret | None:
    if spent.refresh_token is None:
        return None
    field = OntraportAccount._meta.get_field("refresh_token")
    return StoredSecret(Sealed(spent.refresh_token), field.context_of(account.uid))


def forget(digest: str) -> None:
    """Forget one note: nothing came for the token. Those on other tokens of the account stay, since its row may be rolled back to them."""
    _store(lambda store: store.forget(digest))


def forget_unsent(owner: str) -> None:
    """Forget the note that the owner of a lease made on a token which was not sent."""
    _store(lambda store: store.forget_unsent(owner))


def forget_account(account_uid: UUID) -> None:
    """Forget every note on an account: it is gone, or its row holds a token that none of them is about."""
    _store(lambda store: store.forget_account(account_uid))


def forget_on_commit(digests: Sequence[str]) -> None:
    """Forget notes once the transaction that has written what they hold is committed. Where Django cannot tell when that is (a transaction
    without ``atomic``), they stay until the row is claimed again.
    """

    def forget_all() -> None:
        with short_lock_waits():
            for digest in digests:
                forget(digest)

    if not in_transaction() or connections[alias()].in_atomic_block:
        transaction.on_commit(forget_all, using=alias(), robust=True)


def forget_abandoned(account_uid: UUID) -> None:
    """Forget the old notes on an account that has no row. It may have one soon: a transaction that is still open may have made it, and
    have refreshed it.
    """
    before = timezone.now() - ABANDONED_AFTER
    _store(lambda store: store.forget_abandoned(account_uid, before))


def forget_account_on_commit(account_uid: UUID) -> None:
    """Forget the notes that there are now on an account, once the row that was read is committed: a rollback brings back an older token,
    which has a note. Notes that come later stay: the part of the transaction that makes them may be rolled back while the rest commits.
    """
    forget_on_commit(_store(lambda store: store.digests(account_uid)))


def left() -> frozenset[UUID]:
    """Return the accounts whose answers were noted in this request, or task."""
    return _left.get()


def forget_left() -> None:
    _left.set(frozenset())


def uids(*, answered: bool = False) -> Sequence[UUID]:
    """Return the accounts that there are notes on, or notes that hold tokens (``answered``)."""
    return _store(lambda store: store.uids(answered=answered))


def successor(account: OntraportAccount) -> Secret | None:
    """Return the newest refresh token that came for the one that ``account`` holds, if that was spent.

    It is read through the caller's connection: a transaction that deletes may have the last one of a pool.
    """
    if account.refresh_token is None:
        return None
    spent = _find_here(digest_of(account))
    return None if spent is None else _refresh_token_of(account, answers(account, spent, _find_here)[-1])


def _find_here(digest: str) -> SpentToken | None:
    return _here().find(digest)


def _store(step: Callable[[Rows | Sqlite], T]) -> T:
    return step(_here()) if has_one_writer() else on_own_connection(lambda: step(_here()))


def _here() -> Rows | Sqlite:
    return sqlite_store() if has_one_writer() else Rows()
