"""The circuit breaker in front of Ontraport's token endpoint: one row that all processes share.

One account's answer is one account's matter. The breaker opens, and every refresh of the site waits, when

- Ontraport refuses the client that is configured (``invalid_client``), or a setting is wrong: until that is fixed;
- several accounts, one after the other, were told to slow down (429) or that this client may not do this (``unauthorized_client``);
- the grants of many accounts ended one after the other (``invalid_grant``): rather a wrong deploy than so many customers.

"One after the other" means that no account of the site was refreshed in between. While the breaker is open one refresh a minute, a probe,
finds out whether Ontraport serves this site again (half-open); a changed configuration is tried at once.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, Value

from ontraport_connect.conf import conf
from ontraport_connect.database import alias, any_database, has_one_writer, on_own_connection, unless_locked
from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportUnavailable,
    SecretUnreadable,
)
from ontraport_connect.models import EventKind, Now, OntraportAccount, OntraportEvent, OntraportService
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import LONGEST_PAUSE, OPERATOR_ERRORS
from ontraport_connect.signals import site_accepted, site_refused

from . import client_settings, installation, strikes
from .client_settings import fingerprint
from .strikes import GRANT_ENDED, RATE_LIMITED, THRESHOLDS
from .telling import tell

PROBE_AFTER = 60.0
"""Seconds between two probes."""

CLOSED: dict[str, Any] = {"hold_code": "", "hold_client": "", "held_until": None}

MANY_ENDED = "many_grants_ended"
"""The code of the breaker that many ended grants have opened."""

ACCOUNTS_OWN = {client_settings.NO_CLIENT, client_settings.OTHER_CLIENT, client_settings.OTHER_ISSUER}
"""Codes of configuration errors that concern only the accounts of another client or issuer."""


def site_standing() -> OntraportService:
    """Return the row; there is one, made when first needed."""
    row = OntraportService.objects.using(alias()).filter(pk=1).first()
    if row is None:
        try:
            with transaction.atomic(using=alias()):
                row = OntraportService.objects.using(alias()).create(pk=1)
        except IntegrityError:
            row = OntraportService.objects.using(alias()).get(pk=1)
    return row


def enter(account: OntraportAccount | None = None) -> bool:
    """Return when the token endpoint may be called; raise what says until when it may not.

    True means: the breaker is half open, and this call finds out whether it closes. An ``account`` that has just failed itself, or whose
    grant is among the many that ended, does not probe: it could take the probe from the others each minute. (Beat probes with any.) Raises
    ``OntraportUnavailable`` (rate limited) or ``OntraportMisconfigured`` (client refused, many grants ended, or a copied database).
    """
    row, remaining = _hold()
    if row is None:
        return False
    if row.hold_code == RATE_LIMITED:
        if remaining <= 0 and not _has_failed(account, row) and _is_probe():
            return True
        pause = min(max(remaining, 1.0), LONGEST_PAUSE)
        raise OntraportUnavailable("Ontraport asked this site to slow down.", code=RATE_LIMITED, retry_after=pause)
    if row.hold_client == fingerprint() and (_has_failed(account, row) or not _is_probe()):
        raise OntraportMisconfigured(_reason(row.hold_code), code=row.hold_code)
    return True


def _has_failed(account: OntraportAccount | None, row: OntraportService) -> bool:
    ended = strikes.accounts(GRANT_ENDED, row) if row.hold_code == MANY_ENDED else set()
    return account is not None and (account.pk in ended or strikes.is_backing_off(account))


def _reason(code: str) -> str:
    if code == MANY_ENDED:
        return (
            "The grants of several accounts ended one after the other, so refreshing is paused. Check ONTRAPORT_CLIENT_ID and"
            " ONTRAPORT_ENDPOINTS; then run `manage.py ontraport refresh --reconsider`."
        )
    if code not in OPERATOR_ERRORS:
        return (
            f"A setting of this site is wrong ({code}), so refreshing is paused, except for one probe a minute. `manage.py ontraport"
            " check` shows which."
        )
    return (
        f"Ontraport refuses this site as a client ({code}). Refreshing is paused, except for one probe a minute, until"
        " ONTRAPORT_CLIENT_ID and ONTRAPORT_CLIENT_SECRET are fixed."
    )


def may_refresh() -> bool:
    """Tell whether a refresh would be let in now, without using up the probe."""
    with suppress(OntraportMisconfigured):
        row, remaining = _hold()
        return row is None or remaining <= 0 or (row.hold_code != RATE_LIMITED and row.hold_client != fingerprint())
    return False


def is_site_refused() -> bool:
    """Tell whether refreshing is paused for a reason that the operator has to fix."""
    return bool(refusal_code())


def refusal_code() -> str:
    """Return the code of what the operator has to fix before anything is refreshed; an empty string if there is nothing."""
    try:
        row, _ = _hold()
        is_refused = row is not None and row.hold_code != RATE_LIMITED and row.hold_client == fingerprint()
    except OntraportMisconfigured as error:
        return error.code
    return row.hold_code if row is not None and is_refused else ""


def _hold() -> tuple[OntraportService | None, float]:
    """Return the row when the breaker is open, and the seconds until the next probe. Raises where the database is a copy."""
    row = OntraportService.objects.using(alias()).annotate(now=Now()).filter(pk=1).first()
    installation.require_own_row(row)
    if row is None or not row.hold_code:
        return None, 0.0
    return row, (row.held_until - row.now).total_seconds() if row.held_until else 0.0


def _is_probe() -> bool:
    """Win the right to probe. Where somebody else holds the row, nobody probes."""
    rows = OntraportService.objects.using(alias()).filter(Q(held_until=None) | Q(held_until__lte=Now()), pk=1)
    until = Now() + Value(timedelta(seconds=PROBE_AFTER))
    return bool(unless_locked(lambda: _aside(lambda: rows.update(held_until=until))))


def report(error: OntraportError, account: OntraportAccount) -> bool:
    """Take note of an error that may be meant for the whole site. Returns whether it is: then the account is not to blame.

    Written on a connection of its own, so that it outlives the caller's transaction, and no row of the site is held by that. Where somebody
    else holds the row, no account is blamed: one that cannot be counted may be one of many.
    """
    is_counted = error.code in {*THRESHOLDS, *strikes.NO_ANSWER}
    if not is_counted and not isinstance(error, OntraportMisconfigured):
        return False
    if is_for_the_site(error, account):
        unless_locked(lambda: _aside(lambda: hold(error)))
        return True
    is_for_all = is_counted and unless_locked(lambda: _aside(lambda: _count(error, account))) is not False
    return is_for_all and error.code in THRESHOLDS


def is_for_the_site(error: OntraportError, account: OntraportAccount) -> bool:
    """Tell whether this error by itself says that no account can be refreshed: the client that is configured is refused, or a setting is
    wrong. A refusal of another client concerns the accounts that were linked with that client.
    """
    if not isinstance(error, OntraportMisconfigured) or isinstance(error, SecretUnreadable):
        return False
    if error.code == "unauthorized_client":
        return False
    if error.code in OPERATOR_ERRORS:
        return account.client_id in {"", conf.ONTRAPORT_CLIENT_ID}
    return error.code not in ACCOUNTS_OWN


def _aside(step: Any) -> Any:
    return step() if has_one_writer() else on_own_connection(step)


def _count(error: OntraportError, account: OntraportAccount) -> bool:
    """Count an account that got this answer, and open the breaker when there are enough."""
    row = site_standing()
    if error.code in strikes.NO_ANSWER:
        strikes.count(strikes.UNANSWERED, account, goes_on=True)
        return False
    is_held = error.code == GRANT_ENDED and (row.hold_code, row.hold_client) == (MANY_ENDED, fingerprint())
    if not strikes.count(error.code, account, goes_on=is_held):
        return False
    hold(error)
    return True


def hold(error: OntraportError) -> None:
    """Open the breaker for what ``error`` says; the first to notice what the operator has to fix says so, loudly and once."""
    site_standing()
    row = OntraportService.objects.using(alias()).filter(pk=1)
    if isinstance(error, OntraportUnavailable):
        until = Now() + Value(timedelta(seconds=error.retry_after or PROBE_AFTER))
        is_longer = Q(hold_code=RATE_LIMITED) & (Q(held_until=None) | Q(held_until__lt=until))
        row.filter(Q(hold_code="") | is_longer).update(hold_code=RATE_LIMITED, held_until=until)
        return
    code = MANY_ENDED if error.code == GRANT_ENDED else error.code
    mark = fingerprint()
    first = row.exclude(hold_code=code, hold_client=mark).update(
        hold_code=code, hold_client=mark, held_until=Now() + Value(timedelta(seconds=PROBE_AFTER))
    )
    if first:
        text = f"{error} No account was touched; refreshing goes on by itself once this is fixed."
        logger.critical("%s", _reason(code) if code == MANY_ENDED else text)
        _record(EventKind.MISCONFIGURED, code)
        tell(site_refused, OntraportService, code=code)


def release(client_id: str = "") -> None:
    """Close the breaker, since Ontraport has just served this site; that it served another client, the ``client_id`` of some accounts, says
    nothing of a refusal of the one that is configured.
    """
    unless_locked(lambda: _aside(lambda: _release(client_id)))


def _release(client_id: str) -> None:
    rows = OntraportService.objects.using(alias()).filter(pk=1).exclude(hold_code="")
    row = rows.first()
    if row is None:
        return
    closed = {**CLOSED, "strikes": strikes.after_success(row.strikes)}
    if rows.filter(hold_code=RATE_LIMITED).update(**closed):
        return
    if client_id and client_id != conf.ONTRAPORT_CLIENT_ID:
        rows = rows.exclude(hold_code__in=OPERATOR_ERRORS, hold_client=fingerprint())
    if rows.update(**closed):
        logger.warning("Ontraport accepts this site as a client again; refreshing goes on.")
        _record(EventKind.MENDED)
        tell(site_accepted, OntraportService, code=row.hold_code)


def _record(kind: EventKind, detail: str = "") -> None:
    """Add to the history. What receivers of the site raise is left at that: the breaker has moved already."""
    using = alias()
    try:
        with any_database(), transaction.atomic(using=using):
            OntraportEvent.objects.using(using).create(kind=kind, detail=detail)
    except Exception:  # noqa: BLE001  # the database's, or that of a receiver of the site
        logger.exception("The history of this site lacks: %s", kind)


def believe_ended_grants() -> None:
    """Close the breaker that many ended grants have opened, and believe for an hour that they ended."""
    site_standing()
    strikes.believe(GRANT_ENDED)
    if OntraportService.objects.using(alias()).filter(pk=1, hold_code=MANY_ENDED).update(**CLOSED):
        tell(site_accepted, OntraportService, code=MANY_ENDED)
