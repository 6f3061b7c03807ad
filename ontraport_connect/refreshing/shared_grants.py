"""Which accounts may share a grant that is to end: to revoke one token may end every grant of its person and client (RFC 7009, 2.1)"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q, Value

from ontraport_connect.database import alias
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import Method, Now, OntraportAccount, OntraportRevocation, Status

from . import client_settings, strikes

RECONSIDERED_WITHIN = timedelta(days=3)
"""As long after its token served, an account whose grant was said to have ended may be brought back (``reconsider``): a weekend."""


def owner_key(account: OntraportAccount) -> str:
    """Return the owner of an account as a revocation stores it: ``tenant:…``, ``user:…``, or an empty string for no owner."""
    if account.tenant:
        return f"tenant:{account.tenant}"
    return f"user:{account.user_id}"[:220] if account.user_id is not None else ""


def person_key(account: OntraportAccount) -> str:
    """Return the person who linked an account as a revocation stores it, an empty string where that is not known (any more)."""
    return str(account.user_id)[:200] if account.user_id is not None else ""


def sharing(revocation: OntraportRevocation) -> Any:
    """Return the connected accounts that may share the grant to revoke."""
    return _related(revocation).filter(status=Status.CONNECTED)


def to_reconsider(revocation: OntraportRevocation) -> Any:
    """Return the accounts that may share the grant and whose own was said to have ended, of late: by a wrong deploy, perhaps."""
    since = Now() - Value(RECONSIDERED_WITHIN)
    return _related(revocation).filter(
        Q(expires_at__gt=since) | Q(linked_at__gt=since), status=Status.NEEDS_RECONNECT, last_error=strikes.GRANT_ENDED
    )


def _related(revocation: OntraportRevocation) -> Any:
    """Return the accounts made with the same client at the same issuer, for the same Ontraport account, or, where either Ontraport account
    is unknown, for the same owner or by the same person: one may link the same Ontraport account for several tenants.

    An empty client id or issuer was not recorded, and may be any.
    """
    rows = OntraportAccount.objects.using(alias()).filter(method=Method.OAUTH)
    if revocation.client_id:
        rows = rows.filter(client_id__in=["", revocation.client_id])
    if revocation.issuer:
        rows = rows.filter(issuer__in=["", *_names_of(revocation.issuer)])
    owned = _owned_by(revocation.owner, revocation.person)
    if not revocation.ontraport_id:
        return rows.filter(owned)
    return rows.filter(Q(ontraport_id=revocation.ontraport_id) | Q(owned, ontraport_id=""))


def _owned_by(owner: str, person: str) -> Q:
    """Return the condition on the accounts of an owner, and on those that a person linked. An earlier version stored no person."""
    kind, _, key = owner.partition(":")
    person = person or (key if kind == "user" else "")
    linked = Q(user_id=person) if person else Q(pk__in=[])
    return linked | Q(tenant=key) if kind == "tenant" else linked


def _names_of(issuer: str) -> list[str]:
    """Return the names under which accounts may have recorded the server that ``issuer`` names."""
    try:
        names = client_settings.issuers()
    except OntraportMisconfigured:
        names = []
    return names if issuer in names else [issuer]
