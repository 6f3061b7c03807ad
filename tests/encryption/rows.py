"""Reads and writes the encrypted columns beneath the model."""

from __future__ import annotations

from django.db import connection

from ontraport_connect.encryption import Sealed
from ontraport_connect.models import OntraportAccount

CANARY = "canary-4f9a1c77d2"
FIRST, SECOND, THIRD = ("first" * 8, "second" * 8, "third" * 8)
COLUMNS = ("access_token", "refresh_token")


def column(account: OntraportAccount, name: str = "access_token") -> bytes:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM ontraport_connect_ontraportaccount WHERE id = %s", [account.pk])  # noqa: S608
        return bytes(cursor.fetchone()[0])


def write(account: OntraportAccount, value: bytes, name: str = "access_token") -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(**{name: Sealed(value)})


def reread(account: OntraportAccount) -> OntraportAccount:
    found: OntraportAccount = OntraportAccount.objects.get(pk=account.pk)
    return found
