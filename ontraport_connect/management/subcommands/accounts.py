"""``accounts``: list the links, one per line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect.database import alias
from ontraport_connect.management.reports import Progress, Report, table
from ontraport_connect.models import OntraportAccount, Status

HELP = "List the links of this site."

HEAD = ("UID", "STATE", "METHOD", "ONTRAPORT", "OWNER", "EXPIRES (UTC)", "LAST ERROR", "LABEL")


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--state", choices=Status.values, help="only those in this state")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    rows = OntraportAccount.objects.using(alias()).select_related("user").order_by("pk")
    if options["state"]:
        rows = rows.filter(status=options["state"])
    accounts = [describe(account) for account in rows.iterator()]
    cells = [[str(account[name] or "") for name in COLUMNS] for account in accounts]
    return Report(
        lines=table([HEAD, *cells]) if accounts else ["There are no accounts."],
        data=accounts,
    )


COLUMNS = ("uid", "state", "method", "ontraport_id", "owner", "expires_at", "last_error", "label")


def describe(account: OntraportAccount) -> dict[str, Any]:
    """Return the columns of an account that an operator may see."""
    return {
        "uid": str(account.uid),
        "state": account.status,
        "method": account.method,
        "ontraport_id": account.ontraport_id,
        "owner": account.tenant or (account.user.get_username() if account.user else ""),
        "tenant": account.tenant,
        "user": account.user.get_username() if account.user else "",
        "label": account.label,
        "expires_at": f"{account.expires_at:%Y-%m-%d %H:%M}" if account.expires_at else None,
        "last_error": account.last_error,
        "failures": account.failures,
    }
