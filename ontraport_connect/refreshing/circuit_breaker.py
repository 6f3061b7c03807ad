"""Ontraport as this site is configured for it, and whether the site may knock at its token endpoint now.

A hold stops every refresh of the site: after a 429 until the time that Ontraport named, and after a refusal of the client (wrong
secret) until it is mended. It is found mended by the changed configuration itself, or by a probe: one refresh every ``PROBE_AFTER``
seconds.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q, Value
from django.db.models.functions import Now

from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import EventKind, OntraportEvent, OntraportService
from ontraport_connect.protocol import LONGEST_PAUSE, OPERATOR_ERRORS

from . import installation
from .client_settings import fingerprint

logger = logging.getLogger("ontraport_connect")

PROBE_AFTER = 60.0
RATE_LIMITED = "rate_limited"


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


def enter() -> bool:
    """Return when the token endpoint may be called; else raise what says until when it may not.

    True means: the last answer was a refusal of this site, and this call finds out whether that has been mended. Raises
    ``OntraportUnavailable`` (rate limited) or ``OntraportMisconfigured`` (the client is refused, or the database is a copy).
    """
    row, remaining = _hold()
    if row is None:
        return False
    if row.hold_code == RATE_LIMITED:
        if remaining > 0:
            raise OntraportUnavailable(
                "Ontraport asked this site to slow down.", code=RATE_LIMITED, retry_after=min(remaining, LONGEST_PAUSE)
            )
        return False
    if row.hold_client == fingerprint() and not _is_probe():
        raise OntraportMisconfigured(
            f"Ontraport refuses this site as a client ({row.hold_code}); nothing is sent until ONTRAPORT_CLIENT_ID and"
            " ONTRAPORT_CLIENT_SECRET are mended, but for one probe a minute.",
            code=row.hold_code,
        )
    return True


def may_refresh() -> bool:
    """Tell whether somebody who enters now would be let in, without using up the probe."""
    try:
        row, remaining = _hold()
    except OntraportMisconfigured:
        return False
    return row is None or remaining <= 0 or (row.hold_code != RATE_LIMITED and row.hold_client != fingerprint())


def is_site_refused() -> bool:
    """Tell whether Ontraport refuses this site as a client, as it is configured now, or the site itself, as its database is a copy."""
    try:
        row, _ = _hold()
    except OntraportMisconfigured:
        return True
    return row is not None and row.hold_code != RATE_LIMITED and row.hold_client == fingerprint()


def _hold() -> tuple[OntraportService | None, float]:
    """Return the row when there is a hold, and the seconds that it lasts still by the clock of the database.

    Raises ``OntraportMisconfigured`` where the database is a copy.
    """
    row = OntraportService.objects.using(alias()).annotate(now=Now()).filter(pk=1).first()
    installation.require_own_row(row)
    if row is None or not row.hold_code:
        return None, 0.0
    return row, (row.held_until - row.now).total_seconds() if row.held_until else 0.0


def _is_probe() -> bool:
    """Win the right to try once whether the configuration has been mended at Ontraport's side."""
    return bool(
        OntraportService.objects.using(alias())
        .filter(pk=1, held_until__lte=Now())
        .update(held_until=Now() + Value(timedelta(seconds=PROBE_AFTER)))
    )


def hold(error: OntraportError) -> None:
    """Stop every refresh of the site for what ``error`` says; the first to notice a refused client says so, loudly and once."""
    site_standing()
    row = OntraportService.objects.using(alias()).filter(pk=1)
    if isinstance(error, OntraportUnavailable):
        until = Now() + Value(timedelta(seconds=error.retry_after or PROBE_AFTER))
        is_longer = Q(hold_code=RATE_LIMITED) & (Q(held_until=None) | Q(held_until__lt=until))
        row.filter(Q(hold_code="") | is_longer).update(hold_code=RATE_LIMITED, held_until=until)
        return
    mark = fingerprint()
    first = row.exclude(hold_code=error.code, hold_client=mark).update(
        hold_code=error.code, hold_client=mark, held_until=Now() + Value(timedelta(seconds=PROBE_AFTER))
    )
    if first:
        logger.critical("%s No account was touched; refreshing goes on by itself once this is mended.", error)
        OntraportEvent.objects.using(alias()).create(kind=EventKind.MISCONFIGURED, detail=error.code)


def release(client_id: str = "") -> None:
    """Take back the hold on a refused client, since Ontraport has just served it; that it served another, the ``client_id`` of some
    accounts, says nothing of the one that is configured.
    """
    refused = OntraportService.objects.using(alias()).filter(pk=1).exclude(hold_code__in=["", RATE_LIMITED])
    if client_id and client_id != conf.ONTRAPORT_CLIENT_ID:
        refused = refused.exclude(hold_code__in=OPERATOR_ERRORS, hold_client=fingerprint())
    if refused.update(hold_code="", hold_client="", held_until=None):
        logger.warning("Ontraport accepts this site as a client again; refreshing goes on.")
        OntraportEvent.objects.using(alias()).create(kind=EventKind.MENDED)
