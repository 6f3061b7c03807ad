"""``disconnect``: disconnect one account."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import linking, refreshing
from ontraport_connect.database import alias
from ontraport_connect.management.reports import Progress, Report, encodable
from ontraport_connect.management.subcommands import account_argument
from ontraport_connect.models import OntraportRevocation

HELP = (
    "Disconnect one account: its credentials are deleted at once, and Ontraport is asked to revoke the access unless another connection"
    " uses it."
)


def add_arguments(parser: CommandParser) -> None:
    account_argument.add_uid(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask (nor where there is no terminal)")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    account = account_argument.account_of(options["uid"])
    uid, name = account.uid, account_argument.name_of(account)
    if not (options["yes"] or _confirms(f"Disconnect {name}? Only its owner can connect it again. [y/N] ")):
        return Report(lines=["Nothing was changed."], data={"uid": str(uid), "disconnected": False})
    is_shared = refreshing.is_grant_shared(account)
    linking.unlink(account)
    is_waiting = OntraportRevocation.objects.using(alias()).filter(account_uid=uid).exists()
    pending = "The access is not revoked at Ontraport yet; the beat task tries again." if is_waiting else ""
    if is_shared:
        pending = "Ontraport keeps this access, because another connection of this site uses it."
    return Report(
        lines=[f"Disconnected {name}. {pending}".rstrip()],
        data={"uid": str(uid), "disconnected": True, "revocation_pending": is_waiting, "grant_shared": is_shared},
    )


def _confirms(question: str) -> bool:
    """Ask the person at the terminal. Where there is none, the command is a script's, and its own confirmation."""
    if not sys.stdin.isatty():
        return True
    sys.stderr.write(encodable(question, sys.stderr))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
