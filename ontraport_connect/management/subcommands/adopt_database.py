"""``adopt-database``: go on with a database that was recorded by another installation, on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.management.reports import USAGE, Progress, Report
from ontraport_connect.models import OntraportAccount, OntraportRevocation

HELP = (
    "Make a database this installation's own that was moved, renamed, restored or copied, so that its links are refreshed and used from"
    " here. Nothing is sent to Ontraport by this command."
)

LINKS_STAY = (
    "This database holds {links} links. A refresh token can be spent once: if the installation that it came from still runs, each link that"
    " is refreshed here ends there, and the other way round. Stop that one first; or delete the links here (--delete-links), for a copy"
    " that is to have links of its own."
)
LINKS_GO = (
    "The {links} links in this database are deleted. Ontraport is not told, so that they live on where they came from."
)
REVOCATIONS_GO = (
    "{revocations} ended grants that Ontraport was still to be told of are forgotten here (--keep-revocations keeps them, for a database"
    " that was moved)."
)
REVOCATIONS_STAY = "{revocations} ended grants that Ontraport was still to be told of are kept, and told from here."
GO_ON = (
    "Beat and workers go on by themselves. See that the installation it came from is stopped, or has no links in common with this one;"
    " then run `manage.py ontraport check`."
)
QUESTION = "Adopt this database? [y/N] "


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--delete-links", action="store_true", help="delete every link first, without telling Ontraport: for a copy"
    )
    choice.add_argument(
        "--keep-revocations",
        action="store_true",
        help="still tell Ontraport of ended grants: for a database that moved",
    )


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    marks = refreshing.marks_of(alias())
    if refreshing.stored_mark() in (marks or ("",)):
        return Report(
            lines=["This database is this installation's own already; nothing was changed."],
            data={"adopted": False, "links_deleted": 0, "revocations_dropped": 0},
        )
    if not options["yes"]:
        _ask(options, progress)
    dropped = refreshing.adopt_database(
        delete_links=options["delete_links"], keep_revocations=options["keep_revocations"]
    )
    return Report(
        lines=[
            "This database is this installation's own now.",
            f"{dropped.links} links were deleted, and {dropped.revocations} ended grants forgotten; Ontraport was told of none.",
            GO_ON,
        ],
        data={"adopted": True, "links_deleted": dropped.links, "revocations_dropped": dropped.revocations},
    )


def _ask(options: Mapping[str, Any], progress: Progress) -> None:
    """Explain, and raise unless the answer is yes."""
    if options["json"]:
        raise CommandError("With --json nobody can be asked: add --yes.", returncode=USAGE)
    counts = {
        "links": OntraportAccount.objects.using(alias()).count(),
        "revocations": OntraportRevocation.objects.using(alias()).count(),
    }
    keeps = options["keep_revocations"]
    for text in (LINKS_GO if options["delete_links"] else LINKS_STAY, REVOCATIONS_STAY if keeps else REVOCATIONS_GO):
        progress(f"{text.format(**counts)}\n")
    try:
        answer = input(QUESTION)
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandError("Nothing was changed.")
