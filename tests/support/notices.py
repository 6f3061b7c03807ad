"""People whose links need them, and the passing of time for notices."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import F
from django.utils import timezone

from ontraport_connect.models import EventKind, OntraportAccount, OntraportBudget, OntraportEvent, Status
from ontraport_connect.staff import notice_memory

REDIRECT_URI = "https://shop.example.com/ontraport/callback/"


def broken_account(user: Any, ago: timedelta = timedelta(minutes=10), **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(
        user=user,
        status=Status.NEEDS_RECONNECT,
        linked_at=timezone.now() - timedelta(days=30),
        **{"label": "Harbour Street Coffee", **values},
    )
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT)
    OntraportEvent.objects.filter(account=account).update(at=timezone.now() - ago)
    return account


def let_pauses_pass() -> None:
    """As if an hour had passed since anything failed."""
    row = OntraportBudget.objects.get(pk=notice_memory.KEY)
    state = json.loads(row.state)
    state["next_round"] = 0
    state["retries"] = {uid: [failures, 0] for uid, (failures, _at) in state["retries"].items()}
    OntraportBudget.objects.filter(pk=row.pk).update(state=json.dumps(state))


def move_back(days: float) -> None:
    """As if that many days had passed since everything that happened."""
    OntraportEvent.objects.update(at=F("at") - timedelta(days=days))
    row = OntraportBudget.objects.get(pk=notice_memory.KEY)
    state = json.loads(row.state)
    for name in ("next_round", "held_since", "held_until"):
        state[name] -= days * 86_400
    state["retries"] = {uid: [failures, at - days * 86_400] for uid, (failures, at) in state["retries"].items()}
    OntraportBudget.objects.filter(pk=row.pk).update(state=json.dumps(state))


def people(count: int) -> list[Any]:
    return [
        get_user_model().objects.create_user(f"person{number}", email=f"person{number}@example.com")
        for number in range(count)
    ]
