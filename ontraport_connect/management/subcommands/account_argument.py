"""The argument that names an account by its uid."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from ontraport_connect.database import alias
from ontraport_connect.management.reports import USAGE
from ontraport_connect.models import OntraportAccount, with_users


def add_uid(parser: Any, **kwargs: Any) -> None:
    parser.add_argument("uid", type=_uid, metavar="UID", help="the account, as `accounts` lists it", **kwargs)


def _uid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"invalid UUID value: {text!r} (`manage.py ontraport accounts` lists them)") from None


def account_of(uid: UUID) -> OntraportAccount:
    rows = OntraportAccount.objects.using(alias()).filter(uid=uid)
    account: OntraportAccount | None = with_users(rows).first()
    if account is None:
        raise CommandError(f"There is no account {uid}; `manage.py ontraport accounts` lists them.", returncode=USAGE)
    return account


def name_of(account: OntraportAccount) -> str:
    return f"{account} ({account.uid})"
