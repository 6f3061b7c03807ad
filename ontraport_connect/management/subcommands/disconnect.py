"""``disconnect``: disconnect one account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import linking, refreshing
from ontraport_connect.database import alias
from ontraport_connect.management.questions import ask
from ontraport_connect.management.reports import Progress, Report
from ontraport_connect.management.subcommands import account_argument
from ontraport_connect.models import OntraportRevocation

HELP = (
    "Disconnect one account: its credentials are deleted at once, and Ontraport is asked to revoke the access unless another connection"
    " uses it."
)


def add_arguments(parser: CommandParser) -> None:
    account_argument.add_uid(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    account = account_argument.account_of(options["uid"])
    uid, name = account.uid, account_argument.name_of(account)
    ask(options, f"Disconnect {name}? Only its owner can connect it again.")
    is_shared = refreshing.is_grant_shared(account)
    is_revoked = linking.unlink(account)
    is_waiting = OntraportRevocation.objects.using(alias()).filter(account_uid=uid).exists()
    what_follows = ", and Ontraport was told." if is_revoked else "."
    if is_waiting:
        what_follows = ". Ontraport could not be told yet: the revocation is queued, and the beat task tries again."
    if is_shared:
        what_follows = ". Ontraport keeps this access, because another connection of this site uses it."
    return Report(
        lines=[f"Disconnected {name}{what_follows}"],
        data={"uid": str(uid), "disconnected": True, "revocation_pending": is_waiting, "grant_shared": is_shared},
    )
