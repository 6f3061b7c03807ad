"""Leases: the right to spend the refresh token of one row, taken by one conditional UPDATE.

A lease ends by itself after about a minute, so that a row outlives the process that claimed it. A lease that ended without having been
given back is a warning, though: its owner may be stopped, or still be saving, and the refresh token in the row may be spent. Such a row is
claimed again only when somebody needs its token: shortly before the access token ends, or when Ontraport has refused it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import transaction
from django.db.models import Q, Value

from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import Now, OntraportAccount, Status
from ontraport_connect.protocol import monotonic_seconds

from . import spent_tokens
from .row_locks import unlocked
from .spent_token_stores import SpentToken

SEND_WITHIN = 15.0
"""Seconds after its claim in which a refresh token may be sent. A process that was stopped for longer sends nothing."""

SAVE_WITHIN = 30.0
"""Seconds that a lease leaves for saving the answer, after the longest call: a database may be restarting."""

TAKE_OVER_WITHIN = 120.0
"""Seconds before the end of the access token from which on a lease that nobody gave back may be taken over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to spend the refresh token of ``account``, as its row was when it was claimed, at ``now`` by the database's clock.

    ``spent`` is set when the row was claimed through the caller's transaction: the record that guards the token against a rollback.
    """

    account: OntraportAccount
    owner: str
    claimed_at: float
    is_probe: bool
    spent: SpentToken | None = None

    def age(self) -> float:
        """Return the seconds since the lease was taken."""
        return monotonic_seconds() - self.claimed_at

    def claimed_when(self) -> datetime:
        """Return when the lease was taken, by the database's clock."""
        when: datetime = vars(self.account)["now"]
        return when

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return self.claimed_when() + timedelta(seconds=self.age())

    def rows(self) -> Any:
        """Return the row, as long as its grant is the one that was claimed: whatever changes a grant changes the version."""
        return OntraportAccount.objects.using(alias()).filter(pk=self.account.pk, version=self.account.version)

    def guarded_by(self, spent: SpentToken) -> Self:
        return replace(self, spent=spent)

    @property
    def receipt(self) -> str:
        """Stands in the row in place of the owner once this lease's grant is saved."""
        return f"{self.owner}+"


def longest_call() -> float:
    """Return the seconds that one call can take."""
    return float(sum(conf.ONTRAPORT_TIMEOUT))


def duration() -> float:
    """Return the seconds that a lease lasts."""
    return SEND_WITHIN + longest_call() + SAVE_WITHIN


def is_free(*, is_needed: bool = False) -> Q:
    """Return the condition for a row that may be claimed. ``is_needed``: a lease that ended may be taken over at once."""
    has_ended = Q(lease_until__lte=Now())
    if not is_needed:
        has_ended &= Q(expires_at=None) | Q(expires_at__lte=Now() + Value(timedelta(seconds=TAKE_OVER_WITHIN)))
    return Q(lease_until=None) | has_ended


def new_owner() -> str:
    """Return the name of an owner of leases, which no other has."""
    return secrets.token_hex(15)


def give_back(owners: Mapping[int, str]) -> None:
    """Give back the leases that these rows' owners have still, on tokens that were not sent. Locked rows are passed over."""
    held = OntraportAccount.objects.using(alias()).filter(
        pk__in=[*owners], lease_owner__in={*owners.values()}, lease_until__isnull=False
    )
    with transaction.atomic(using=alias()):
        unlocked(held).update(lease_until=None)


def claim(
    rows: Any, pks: Sequence[int], *, is_probe: bool, is_needed: bool = False, owner: str | None = None
) -> list[Lease]:
    """Take a lease on those of ``rows`` with ``pks`` that are free, by one UPDATE, and return them as they are then.

    A row that is locked by an open transaction is passed over: waiting for it could take any time. ``owner`` is given by who has to know it
    even when this is interrupted.
    """
    owner = owner or new_owner()
    claimed_at = monotonic_seconds()
    accounts = OntraportAccount.objects.using(alias()).filter(pk__in=pks)
    with transaction.atomic(using=alias()):
        free = rows.filter(is_free(is_needed=is_needed), pk__in=pks, status=Status.CONNECTED)
        claimed = unlocked(free).update(lease_owner=owner, lease_until=Now() + Value(timedelta(seconds=duration())))
    if not claimed:
        return []
    leased = spent_tokens.annotated(accounts.filter(lease_owner=owner)).annotate(now=Now())
    return [
        Lease(account=account, owner=owner, claimed_at=claimed_at, is_probe=is_probe)
        for account in leased.order_by("refresh_at", "pk")
    ]
