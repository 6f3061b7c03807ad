"""Which accounts got the same answer, one after the other: the strikes that open the circuit breaker.

They are kept in the row of the circuit breaker, which must exist.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from ontraport_connect.database import alias
from ontraport_connect.models import Method, Now, OntraportAccount, OntraportService, Status
from ontraport_connect.protocol import OPERATOR_ERRORS

RATE_LIMITED = "rate_limited"
GRANT_ENDED = "invalid_grant"

THRESHOLDS = {RATE_LIMITED: 3, GRANT_ENDED: 5, **dict.fromkeys(OPERATOR_ERRORS, 3)}
"""As many accounts must get this answer, one after the other, before it is taken to be meant for the site."""

NO_ANSWER = {"timeout", "cut", "nonsense", "http_502", "http_504"}
"""Codes of requests that may have been carried out: their answer did not come, or could not be read; with a status, a gateway says so."""

UNANSWERED, ENOUGH_UNANSWERED = "unanswered", 5

WITHIN = timedelta(minutes=10)
"""Answers further apart than this are not counted together."""

BELIEVED_FOR = timedelta(hours=1)
"""As long after an operator has asked to reconsider, ended grants are believed."""


def accounts(code: str, row: OntraportService) -> set[int]:
    """Return the primary keys of the accounts that got the answer ``code``."""
    return set(json.loads(row.strikes or "{}").get(code, {}).get("accounts", ()))


def is_backing_off(account: Any) -> bool:
    """Tell whether an account that was read with ``now`` waits, since its own last refresh failed."""
    return bool(account.failures and account.refresh_at is not None and account.refresh_at > account.now)


def count(code: str, account: OntraportAccount, *, goes_on: bool = False) -> bool:
    """Count an account that got the answer ``code``. Returns whether there are enough now to blame the site.

    ``goes_on``: the site is blamed already, and probes are too rare to be counted together otherwise.
    """
    with transaction.atomic(using=alias()):
        rows = OntraportService.objects.using(alias()).select_for_update().filter(pk=1).annotate(now=Now())
        row: Any = rows.get()
        strikes = json.loads(row.strikes or "{}")
        mine = strikes.get(code, {})
        if mine.get("believed_until", "") > row.now.isoformat():
            return False
        first = datetime.fromisoformat(mine["first"]) if "first" in mine else row.now
        struck = {*mine.get("accounts", ()), account.pk}
        if (row.now - first > WITHIN and not goes_on) or (len(struck) >= _enough(code) and _any_refreshed_since(first)):
            first, struck = row.now, {account.pk}
        strikes[code] = {"first": first.isoformat(), "accounts": sorted(struck)[-100:]}
        rows.update(strikes=json.dumps(strikes))
    return len(struck) >= _enough(code)


def is_nobody_answered() -> bool:
    """Tell whether the tokens of several accounts were sent, one after the other, and no answer came: each one more may be lost."""
    row = OntraportService.objects.using(alias()).filter(pk=1).first()
    mine = {} if row is None else json.loads(row.strikes or "{}").get(UNANSWERED, {})
    return len(mine.get("accounts", ())) >= ENOUGH_UNANSWERED and not _any_refreshed_since(
        datetime.fromisoformat(mine["first"])
    )


def _enough(code: str) -> int:
    """Return how many accounts it takes; a site with fewer links than that needs them all."""
    if code == UNANSWERED:
        return ENOUGH_UNANSWERED
    if code == GRANT_ENDED:
        return THRESHOLDS[code]
    links = OntraportAccount.objects.using(alias()).filter(method=Method.OAUTH, status=Status.CONNECTED)
    return max(1, min(THRESHOLDS[code], links[: THRESHOLDS[code]].count()))


def _any_refreshed_since(moment: datetime) -> bool:
    rows = OntraportAccount.objects.using(alias()).filter(method=Method.OAUTH, refreshed_at__gte=moment)
    return bool(rows.order_by().exists())


def believe(code: str) -> None:
    """Count nobody who gets the answer ``code`` for an hour, and forget who got any."""
    with transaction.atomic(using=alias()):
        rows = OntraportService.objects.using(alias()).select_for_update().filter(pk=1).annotate(now=Now())
        row: Any = rows.get()
        rows.update(strikes=json.dumps({code: {"believed_until": (row.now + BELIEVED_FOR).isoformat()}}))


def doubt(code: str, pks: Sequence[int]) -> None:
    """Believe the answer ``code`` no more, which all of these accounts got."""
    with transaction.atomic(using=alias()):
        rows = OntraportService.objects.using(alias()).select_for_update().filter(pk=1).annotate(now=Now())
        row: Any = rows.get()
        mine = {"first": row.now.isoformat(), "accounts": sorted(pks)[-100:]}
        rows.update(strikes=json.dumps({**json.loads(row.strikes or "{}"), code: mine}))


def after_success(text: str) -> str:
    """Return what is remembered once an account was refreshed: nobody's strikes, but that the operator is believed."""
    ended = json.loads(text or "{}").get(GRANT_ENDED, {})
    return json.dumps({GRANT_ENDED: ended}) if "believed_until" in ended else ""
