"""``accounts``: list the links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q

from ontraport_connect import refreshing, staff
from ontraport_connect.database import alias
from ontraport_connect.management.reports import WIDTH, Progress, Report, counted, iso
from ontraport_connect.models import SECRET_FIELDS, OntraportAccount, name_of, with_users
from ontraport_connect.pages import uuid_or_none
from ontraport_connect.refreshing import LinkState, SitePause

HELP = "List the links of this site."

MAX_LISTED = 100


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--state", choices=LinkState.values, help="only those in this state")
    parser.add_argument(
        "--search",
        default="",
        help="only those whose label, owner, e-mail address, tenant or Ontraport account id contains these words",
    )
    parser.add_argument(
        "--limit",
        type=int,
        help=f"at most so many; 0 for all (default: {MAX_LISTED}, with --json all)",
    )


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    rows = with_users(OntraportAccount.objects.using(alias())).defer(*SECRET_FIELDS).order_by("pk")
    pause = refreshing.site_pause()
    if options["state"]:
        rows = rows.filter(refreshing.link_conditions(pause)[LinkState(options["state"])])
    for word in options["search"].split():
        rows = rows.filter(_matches(word))
    limit = (0 if options["json"] else MAX_LISTED) if options["limit"] is None else options["limit"]
    found = rows.count()
    accounts = [describe(account, pause) for account in (rows[:limit] if limit > 0 else rows.iterator(chunk_size=500))]
    return Report(
        lines=[*(line for account in accounts for line in _lines(account)), _footer(len(accounts), found)],
        data=accounts,
    )


def _matches(word: str) -> Q:
    """Return the condition under which the admin's search finds an account."""
    uid = uuid_or_none(word)
    condition = staff.people_matching([word]) | (Q() if uid is None else Q(uid=uid))
    for name in staff.search_fields():
        condition |= Q(**{f"{name}__icontains": word})
    return condition


def _footer(listed: int, found: int) -> str:
    if not found:
        return "There are no accounts."
    if listed == found:
        return f"{counted(found, 'account')}."
    return f"{listed} of {counted(found, 'account')}; narrow them with --search or --state, or see all with --limit 0."


def _lines(account: Mapping[str, Any]) -> Iterator[str]:
    """Yield two lines of at most ``WIDTH`` columns: what people look for, and what identifies the account."""
    state = LinkState(account["state"]).label
    owner = _cut(f" ({account['owner']})", WIDTH // 3) if account["owner"] else ""
    yield _cut(f"{state:<18} {account['name']}", WIDTH - len(owner)) + owner
    expires = f"until {account['expires_at'][:16].replace('T', ' ')} UTC" if account["expires_at"] else ""
    facts = [account["uid"], account["method"].replace("_", " "), expires or account["last_error"]]
    yield _cut("  " + "  ".join(fact for fact in facts if fact))
    if expires and account["last_error"]:
        yield _cut(f"  {account['last_error']}")


def _cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def describe(account: OntraportAccount, pause: SitePause) -> dict[str, Any]:
    """Return the columns of an account that an operator may see, and its state."""
    return {
        "uid": str(account.uid),
        "name": " ".join(str(account).split()),
        "state": refreshing.link_state(account, pause).value,
        "method": account.method,
        "ontraport_id": account.ontraport_id,
        "owner": account.tenant or (name_of(account.user) if account.user else ""),
        "tenant": account.tenant,
        "user": name_of(account.user) if account.user else "",
        "label": account.label,
        "expires_at": iso(account.expires_at),
        "refreshed_at": iso(account.refreshed_at),
        "last_used_at": iso(account.last_used_at),
        "last_error": account.last_error,
        "failures": account.failures,
    }
