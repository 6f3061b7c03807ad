"""``rotate-keys``: re-encrypt stored secrets under the newest key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import staff
from ontraport_connect.management.reports import Progress, Report, counted

HELP = (
    "Re-encrypt every stored secret under the newest key, while the site runs. Do this when all processes know the new key."
    " If interrupted, run it again."
)

DONE = "Older keys are no longer needed. Remove them from the settings in ten minutes, when pending attempts to link have ended."


def add_arguments(parser: CommandParser) -> None:
    """Add none: the keys are in the settings."""


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    total = staff.count_stored_rows()
    summary = staff.rotate_keys(lambda seen: progress(f"{seen} of {total} rows"))
    left = len(summary.unreadable) + summary.changed + len(summary.held)
    return Report(
        lines=[
            f"{counted(summary.rewritten, 'row')} re-encrypted; {summary.current} already up to date.",
            *(f"{uid}: the {column} cannot be decrypted and was left unchanged." for uid, column in summary.unreadable),
            *([DONE] if summary.rewritten and not left else []),
        ],
        data={
            "rewritten": summary.rewritten,
            "current": summary.current,
            "unreadable": [{"uid": str(uid), "column": column} for uid, column in summary.unreadable],
            "changed": summary.changed,
            "held": len(summary.held),
        },
        problem=_problem(summary),
    )


def after_a_stop(options: Mapping[str, Any], last: str) -> str:
    return f"Stopped after {last or 'no row'}. Run this again to go on, and keep all keys until then."


def _problem(summary: staff.Summary) -> str:
    if summary.unreadable:
        return "Some secrets cannot be decrypted. Put their key back into the settings and run this again; keep all keys until then."
    if summary.changed:
        return f"{counted(summary.changed, 'row')} changed while being written. Run this again, and keep all keys until then."
    if summary.held:
        return f"Somebody else holds {counted(len(summary.held), 'row')}. Run this again, and keep all keys until then."
    return ""
