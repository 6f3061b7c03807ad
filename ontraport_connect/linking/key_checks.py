"""Check key pairs once a day, and find out whether one that was refused is really no longer valid.

One 401 proves nothing: Ontraport may answer it to everybody for a minute, and its MCP server may refuse a pair that REST accepts. So a
401 only makes a check due (``using.key_refused``). A pair is marked ``needs_reconnect`` when REST has refused it in ``CONFIRMATIONS``
checks, minutes apart; until then the account stays connected. A marked pair is checked again soon, then more and more rarely, down to
once a day, and recovers by itself: Ontraport may have answered 401 to everybody for longer than those minutes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import F

from ontraport_connect import refreshing, using
from ontraport_connect.database import alias, unless_locked
from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)
from ontraport_connect.models import EventKind, Method, Now, OntraportAccount, OntraportEvent, Status, with_users
from ontraport_connect.monitoring import logger
from ontraport_connect.signals import account_needs_reconnect, account_recovered

from .identity import CHEAP_CALL, next_check

RETRY_AFTER = 3600.0
"""Seconds until a check that gave no result is repeated."""

CONFIRMATIONS = 3
CONFIRM_AFTER = 120.0
"""Seconds between the checks of a pair that was refused."""

CHECKS_OF_MARKED = (240.0, 600.0, 1800.0, 7200.0, 21_600.0)
"""Seconds until a pair that was marked is checked again, each after the one before; from then on, once a day. The first comes before its
person is written to (``staff.notices.GRACE``)."""

LOCKED = "locked"
"""Counted where the result of a check could not be written, since somebody holds the row: the check is repeated."""

MAX_RUN_TIME = 60.0
"""Seconds after which one run of the task leaves the remaining checks to the next run."""


def check_key_pair(account: OntraportAccount) -> OntraportError | None:
    """Check with one REST call whether Ontraport accepts the key pair of ``account``, also of one that needs to be reconnected.

    Returns the error, or ``None``. A pair that is accepted is connected again. One that is refused is checked again soon.
    """
    status = account.status
    account.status = Status.CONNECTED  # or else no request is sent
    try:
        using.rest(account, "GET", CHEAP_CALL, patience=0)
    except OntraportRejected as error:
        if error.status != 403:  # a 403 shows that Ontraport accepts the key, though it may not read contacts
            return error
    except (OntraportUnavailable, OntraportMisconfigured, ReconnectRequired) as error:
        return error
    finally:
        account.status = status
    _accept(account)
    return None


def check_key_pairs(limit: int, seconds: float = MAX_RUN_TIME) -> dict[str, int]:
    """Check up to ``limit`` key pairs that are due, and return the number of checks by result (``accepted``, ``LOCKED`` or an error code).

    Stops when Ontraport is unavailable, and when ``seconds`` have passed. In a copy of another installation's database nothing is checked.
    """
    stop_at = time.monotonic() + seconds
    counts: dict[str, int] = {}
    if not refreshing.is_own_database():
        return counts
    for account in _due(limit):
        code, is_away = LOCKED, False
        with refreshing.left_if_locked(f"account {account.uid}"):
            error = check_key_pair(account)
            if error is not None and error.code == using.KEY_REFUSED:
                _count_refusal(account)
            code = "accepted" if error is None else error.code
            is_away = isinstance(error, OntraportUnavailable) and code not in (
                using.KEY_REFUSED,
                refreshing.RATE_LIMITED,
            )
        counts[code] = counts.get(code, 0) + 1
        if is_away or time.monotonic() >= stop_at:
            break
    return counts


def _due(limit: int) -> Iterator[OntraportAccount]:
    """Yield the accounts to check now. Each is postponed when it is yielded, so that no other process checks it too.

    A check that gives no result is repeated after that time: soon for a pair that was refused before, otherwise in an hour at most.
    """
    accounts = OntraportAccount.objects.using(alias())
    due = accounts.filter(method=Method.API_KEY, refresh_at__lte=Now()).usable()
    found = due.order_by("refresh_at", "pk").values_list("pk", "status", "last_error", "failures")[:limit]
    for pk, status, last_error, failures in list(found):
        pause = RETRY_AFTER
        if last_error == using.KEY_REFUSED:
            pause = CONFIRM_AFTER if status == Status.CONNECTED else min(RETRY_AFTER, _next_check_of_marked(failures))
        if _postpone(due.filter(pk=pk), pause):
            yield from with_users(accounts.filter(pk=pk))


def _postpone(row: Any, seconds: float) -> bool:
    """Win the right to check; nobody waits for a row that somebody else holds."""
    return bool(unless_locked(lambda: row.update(refresh_at=refreshing.from_now(seconds))))


def _next_check_of_marked(failures: int) -> float:
    """Return the seconds until a marked pair, which was refused ``failures`` times in a row, is checked again."""
    checks = max(0, failures - CONFIRMATIONS)
    if checks >= len(CHECKS_OF_MARKED):
        return next_check()
    return CHECKS_OF_MARKED[checks] * random.uniform(0.9, 1)  # noqa: S311  # jitter


def _same_pair(account: OntraportAccount, status: Status) -> Any:
    """Return the row of ``account``, unless its key pair or its status was changed meanwhile."""
    return OntraportAccount.objects.using(alias()).filter(pk=account.pk, version=account.version, status=status)


def _accept(account: OntraportAccount) -> None:
    """Record that Ontraport accepts the key pair. An account that was marked for its key pair is connected again."""
    values = {
        "refreshed_at": Now(),
        "refresh_at": refreshing.from_now(next_check()),
        "failures": 0,
        "last_error": "",
    }
    if _same_pair(account, Status.CONNECTED).update(**values):
        return
    with transaction.atomic(using=alias()):
        marked = _same_pair(account, Status.NEEDS_RECONNECT).filter(last_error=using.KEY_REFUSED)
        values |= {"status": Status.CONNECTED, "version": F("version") + 1, "notified_at": None}
        if not marked.update(**values):
            return
        account.refresh_from_db(using=alias())
        OntraportEvent.record(account, EventKind.RECOVERED, using.KEY_REFUSED, using=alias())
        transaction.on_commit(
            lambda: refreshing.tell(account_recovered, OntraportAccount, account=account), using=alias()
        )


def _count_refusal(account: OntraportAccount) -> None:
    """Count one refusal of a pair whose check was due, and mark the account once it was refused ``CONFIRMATIONS`` times in a row."""
    if account.status != Status.CONNECTED:
        _same_pair(account, Status.NEEDS_RECONNECT).update(
            failures=F("failures") + 1, refresh_at=refreshing.from_now(_next_check_of_marked(account.failures + 1))
        )
        return
    connected = _same_pair(account, Status.CONNECTED)
    refused = {"failures": F("failures") + 1, "last_error": using.KEY_REFUSED}
    if account.failures + 1 < CONFIRMATIONS:
        connected.update(**refused, refresh_at=refreshing.from_now(CONFIRM_AFTER))
        return
    with transaction.atomic(using=alias()):
        marked = connected.update(
            **refused,
            status=Status.NEEDS_RECONNECT,
            refresh_at=refreshing.from_now(_next_check_of_marked(account.failures + 1)),
            version=F("version") + 1,
        )
        if not marked:
            return
        account.refresh_from_db(using=alias())
        OntraportEvent.record(account, EventKind.NEEDS_RECONNECT, using.KEY_REFUSED, using=alias())
        transaction.on_commit(
            lambda: refreshing.tell(account_needs_reconnect, OntraportAccount, account=account), using=alias()
        )
    logger.warning("Account %s needs a new key: Ontraport refused it %d times.", account.uid, CONFIRMATIONS)
