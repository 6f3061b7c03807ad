"""``adopt-database``: go on with a database that was recorded by another installation, on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.management.questions import ask
from ontraport_connect.management.reports import Progress, Report, counted
from ontraport_connect.models import OntraportAccount, OntraportRevocation

HELP = (
    "Make a database this installation's own that was moved, renamed, restored or copied, so that its links are refreshed and used from"
    " here. Nothing is sent to Ontraport by this command."
)

LINKS_STAY = (
    "This database holds {links}. A refresh token can be spent once: if the installation that it came from still runs, each link that"
    " is refreshed here ends there, and the other way round. Stop that one first; or delete the links here (--delete-links), for a copy"
    " that is to have links of its own."
)
LINKS_GO = (
    "The {links} in this database {are} deleted. Ontraport is not told, so {they_live} on where {they} came from."
)
REVOCATIONS_GO = (
    "{grants} that Ontraport was still to be told of {are} forgotten here (--keep-revocations keeps {them}, for a database"
    " that was moved)."
)
REVOCATIONS_STAY = "{grants} that Ontraport was still to be told of {are} kept, and told from here."
SINGULAR = {"are": "is", "they": "it", "they_live": "it lives", "them": "it"}
PLURAL = {"are": "are", "they": "they", "they_live": "they live", "them": "them"}
GO_ON = (
    "Beat and workers go on by themselves. See that the installation it came from is stopped, or has no links in common with this one;"
    " then run `manage.py ontraport check`."
)
QUESTION = "Adopt this database?"


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
            lines=["This database already belongs to this installation. Nothing changed."],
            data={"adopted": False, "links_deleted": 0, "revocations_dropped": 0},
        )
    ask(options, QUESTION, *_explanations(options))
    dropped = refreshing.adopt_database(
        delete_links=options["delete_links"], keep_revocations=options["keep_revocations"]
    )
    return Report(
        lines=[
            "This database now belongs to this installation.",
            *_losses(dropped),
            GO_ON,
        ],
        data={"adopted": True, "links_deleted": dropped.links, "revocations_dropped": dropped.revocations},
    )


def _explanations(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield what becomes of the links and of the grants to revoke, as far as there are any."""
    links = OntraportAccount.objects.using(alias()).count()
    if links:
        text = LINKS_GO if options["delete_links"] else LINKS_STAY
        yield text.format(links=counted(links, "link"), **_words(links))
    grants = OntraportRevocation.objects.using(alias()).count()
    if grants:
        text = REVOCATIONS_STAY if options["keep_revocations"] else REVOCATIONS_GO
        yield text.format(grants=counted(grants, "ended grant"), **_words(grants))


def _words(count: int) -> Mapping[str, str]:
    return SINGULAR if count == 1 else PLURAL


def _losses(dropped: refreshing.Adopted) -> Iterator[str]:
    """Yield a line that tells what was dropped, unless nothing was."""
    losses = []
    if dropped.links:
        losses.append(f"{counted(dropped.links, 'link')} {_was(dropped.links)} deleted")
    if dropped.revocations:
        losses.append(f"{counted(dropped.revocations, 'ended grant')} {_was(dropped.revocations)} forgotten")
    if losses:
        yield f"{', and '.join(losses)}; Ontraport was not told."


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
