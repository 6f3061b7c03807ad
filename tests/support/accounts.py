"""Linked accounts for the tests of the engine, created directly in the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone

from ontraport_connect.models import OntraportAccount


def linked(grant: str, *, user: Any = None, expires_in: float = 0.0, **values: Any) -> Any:
    """Create an account with the first tokens of ``grant`` and return it as read from its row. It is due and, by default, expired."""
    now = timezone.now()
    account = OntraportAccount.objects.create(
        **{
            "user": user or user_named("maya"),
            "access_token": f"a.{grant}.0",
            "refresh_token": f"r.{grant}.0",
            "scope": "mcp:tools",
            "expires_at": now + timedelta(seconds=expires_in),
            "refresh_at": now - timedelta(seconds=1),
            **values,
        }
    )
    return read(account)


def read(account: OntraportAccount) -> Any:
    """Return the account as its row is now."""
    return OntraportAccount.objects.get(pk=account.pk)


def user_named(name: str) -> Any:
    return get_user_model().objects.get_or_create(username=name)[0]


def token_of(account: OntraportAccount) -> str:
    """Return the access token in the row."""
    token: str = read(account).access_token.reveal()
    return token
