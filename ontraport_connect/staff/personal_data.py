"""What is stored about one person, for a request of access (GDPR, 15 and 20)"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q

from ontraport_connect.database import alias
from ontraport_connect.models import LONGEST_ACTOR, SOMEBODY_ELSE, OntraportAccount, OntraportEvent, aware, name_of


def export_person(user: Any) -> dict[str, Any]:
    """Return, ready for JSON, the links that this person made or owns, and their history, also of links that are gone.

    Credentials are left out: they are no data about the person, and would let the reader of the file in. So are the names of others:
    ``actor`` is the person's own username, "somebody else", or empty for what happened by itself. Times are ISO 8601 in UTC.
    """
    username = name_of(user)
    accounts = list(OntraportAccount.objects.using(alias()).filter(user=user).order_by("linked_at", "pk"))
    own = [account.uid for account in accounts]
    events = OntraportEvent._default_manager.using(alias()).filter(Q(user=user) | Q(account_uid__in=own))
    return {
        "user": str(user.pk),
        "username": username,
        "accounts": [_account(account) for account in accounts],
        "events": [_event(event, username) for event in events.order_by("at", "pk")],
    }


def _account(account: OntraportAccount) -> Mapping[str, Any]:
    names = ("label", "tenant", "ontraport_id", "method", "is_default", "scope", "status", "last_error")
    times = ("linked_at", "refreshed_at", "last_used_at", "expires_at", "notified_at")
    return {
        "uid": str(account.uid),
        **{name: getattr(account, name) for name in names},
        **{name: _iso(getattr(account, name)) for name in times},
    }


def _event(event: OntraportEvent, username: str) -> Mapping[str, Any]:
    names = ("kind", "detail", "tenant", "ontraport_id")
    return {
        "at": _iso(event.at),
        "account": str(event.account_uid) if event.account_uid else None,
        **{name: getattr(event, name) for name in names},
        "actor": event.actor if event.actor in ("", username[:LONGEST_ACTOR]) else SOMEBODY_ELSE,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else aware(moment).astimezone(UTC).isoformat(timespec="seconds")
