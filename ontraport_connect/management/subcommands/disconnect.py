"""``disconnect``: let one account go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import linking, refreshing
from ontraport_connect.database import alias
from ontraport_connect.management.reports import Progress, Report
from ontraport_connect.management.subcommands import choosing
from ontraport_connect.models import OntraportRevocation

HELP = "Disconnect one account: its credentials are gone at once, and Ontraport is told to end the access if nothing else here uses it."


def add_arguments(parser: CommandParser) -> None:
    choosing.add_uid(parser)


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    account = choosing.account_of(options["uid"])
    uid, name = account.uid, choosing.name_of(account)
    is_shared = refreshing.is_grant_shared(account)
    linking.unlink(account)
    is_waiting = OntraportRevocation.objects.using(alias()).filter(account_uid=uid).exists()
    heard = "Ontraport did not hear of it yet, and is told again by the beat task." if is_waiting else ""
    if is_shared:
        heard = "Ontraport keeps this access, because another connection of this site uses it."
    return Report(
        lines=[f"{name} is disconnected. {heard}".rstrip()],
        data={"uid": str(uid), "disconnected": True, "revocation_pending": is_waiting, "grant_shared": is_shared},
    )
