"""Refresh or disconnect many accounts. What exceeds ``INLINE_LIMIT`` is left to the beat task, so that no request waits long."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import Method, Now, OntraportAccount, OntraportRevocation, Status, aware, name_of

INLINE_LIMIT = 20
"""The most accounts that are handled within the request; larger selections are left to the beat task and the workers."""

INLINE_SECONDS = 10.0
"""Seconds after which the revocation of further grants is left to the beat task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The result for one account, in words."""

    account: OntraportAccount
    text: str
    is_well: bool


def make_due(pks: Sequence[int]) -> int:
    """Mark accounts as due, so that the beat task refreshes or checks them. Returns how many were marked: those that somebody holds are
    passed over.
    """
    rows = OntraportAccount.objects.using(alias()).filter(pk__in=pks, status=Status.CONNECTED)
    with transaction.atomic(using=alias()):
        return int(refreshing.unlocked(rows).update(refresh_at=Now()))


def refresh(accounts: Sequence[OntraportAccount]) -> Iterator[Outcome]:
    """Refresh a few accounts now, concurrently, and yield the outcome of each."""
    before = {account.pk: account for account in accounts}
    make_due(list(before))
    refreshing.refresh_batch(list(before))
    now = OntraportAccount.objects.using(alias()).in_bulk(before)
    for pk, account in before.items():
        text, is_well = _compare(account, now.get(pk))
        yield Outcome(account=account, text=text, is_well=is_well)


def _compare(before: OntraportAccount, now: OntraportAccount | None) -> tuple[str, bool]:
    if now is None:
        return _("was disconnected meanwhile."), False
    if now.status != Status.CONNECTED:
        return _("Ontraport no longer accepts it. The owner needs to reconnect."), False
    if now.method == Method.API_KEY:
        return _("uses an API key, which will be checked within a minute."), True
    if now.refreshed_at != before.refreshed_at:
        return _("refreshed."), True
    if now.failures > before.failures:
        return _("couldn't be refreshed (%(error)s). Next try at %(time)s.") % {
            "error": now.last_error,
            "time": _time(now.refresh_at),
        }, False
    return _("skipped: refreshing is paused, or the owner is inactive."), False


def _time(moment: Any) -> str:
    local = localtime(aware(moment))
    return f"{date_format(local, 'TIME_FORMAT')} {local.tzname()}"


def disconnect_accounts(accounts: Sequence[OntraportAccount], seconds: float = INLINE_SECONDS) -> int:
    """Disconnect accounts, and return how many grants have still to be revoked at Ontraport when this returns.

    The grants of a few accounts are revoked as soon as the caller's transaction commits, for ``seconds`` at most and up to the first
    failure: a rollback must bring back links that still work. The beat task revokes the rest.
    """
    uids = [account.uid for account in accounts]
    for account in accounts:
        with transaction.atomic(using=alias()):
            account.delete(using=alias())
    waiting = OntraportRevocation.objects.using(alias()).filter(account_uid__in=uids)
    if len(uids) <= INLINE_LIMIT:
        transaction.on_commit(lambda: _revoke(waiting.all(), seconds), using=alias(), robust=True)
    return waiting.all().count()


def _revoke(waiting: Iterable[OntraportRevocation], seconds: float) -> None:
    stop_at = time.monotonic() + seconds
    for revocation in waiting:
        if time.monotonic() > stop_at or not refreshing.deliver_revocation(revocation):
            return


def name_with_owner(account: OntraportAccount) -> str | Promise:
    """Return the account's name with its owner, to tell apart accounts with the same label."""
    owner = account.tenant or (name_of(account.user) if account.user else "")
    return f"{account} ({owner})" if owner else str(account)
