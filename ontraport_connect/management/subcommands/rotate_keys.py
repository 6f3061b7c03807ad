"""``rotate-keys``: re-encrypt stored secrets under the newest key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import staff
from ontraport_connect.management.reports import Progress, Report

HELP = (
    "Encrypt every stored secret under the newest key, while the site runs. Do this when all processes know the new key."
    " Interrupted, it goes on where it stopped."
)

DONE = (
    "The older keys are not needed any more: take them out of the settings in ten minutes, when attempts to link that are under way"
    " now have ended."
)


def add_arguments(parser: CommandParser) -> None:
    """Add none: the keys are in the settings."""


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    total = staff.count_stored_rows()
    summary = staff.rotate_keys(lambda seen: progress(f"{seen} of {total} rows"))
    left = len(summary.unreadable) + summary.changed
    return Report(
        lines=[
            f"{summary.rewritten} rows were encrypted anew; {summary.current} had the newest key already.",
            *(f"{uid}: the {column} cannot be decrypted, and was left as it is." for uid, column in summary.unreadable),
            *([] if left else [DONE]),
        ],
        data={
            "rewritten": summary.rewritten,
            "current": summary.current,
            "unreadable": [{"uid": str(uid), "column": column} for uid, column in summary.unreadable],
            "changed": summary.changed,
        },
        problem=_problem(summary),
    )


def _problem(summary: staff.Summary) -> str:
    if summary.unreadable:
        return "Some secrets cannot be decrypted: put their key back into the settings and run this again; keep all keys until then."
    if summary.changed:
        return f"{summary.changed} rows were changed each time they were to be written; run this again, and keep all keys until then."
    return ""
