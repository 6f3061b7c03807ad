"""``refresh``: refresh one account now, or all that are due (from cron, where Celery does not run)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import linking, refreshing, staff
from ontraport_connect.conf import conf
from ontraport_connect.management.reports import (
    FAILED,
    TRY_LATER,
    Progress,
    Report,
    counted,
    is_unreachable,
    iso,
    summarize,
)
from ontraport_connect.management.subcommands import account_argument
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.schedule import INTERVAL
from ontraport_connect.staff import Finding, Level
from ontraport_connect.tasks import MAX_IDS, MAX_KEYS, MAX_REVOCATIONS

HELP = (
    "Refresh one account now, or with --all all that are due: from cron every minute, it does what beat and workers do."
)

NOTICES = 20.0
"""Seconds for e-mails (see ``staff.send_notices``): cron must not pile up behind a mail server."""


BELIEVED = "Refreshing goes on. For an hour, grants that end one after the other do not pause it."
STILL_ENDED = (
    "Ontraport said of every one of them that its grant has ended, so refreshing stays paused, except for one probe a minute with another"
    " account: once one is refreshed, all goes on by itself. Check ONTRAPORT_CLIENT_ID and ONTRAPORT_ENDPOINTS, and that every process"
    " was restarted since they were changed."
)


def add_arguments(parser: CommandParser) -> None:
    parser.usage = (
        "%(prog)s [-h] [--json] (UID | --all | --reconsider)"  # argparse shows no group that has a positional
    )
    which = parser.add_mutually_exclusive_group(required=True)
    account_argument.add_uid(which, nargs="?")
    which.add_argument("--all", action="store_true", help="all that are due")
    which.add_argument(
        "--reconsider",
        action="store_true",
        help="all whose grant is said to have ended: brings back what a wrong client id or wrong endpoints have marked",
    )


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    if options["reconsider"]:
        return _reconsider(progress)
    return _all(progress) if options["all"] else _one(account_argument.account_of(options["uid"]))


def after_a_stop(options: Mapping[str, Any], last: str) -> str:
    """Whatever stopped the command, the answers to what it had sent were waited for and saved."""
    if options["uid"]:
        return "Stopped. If Ontraport had been asked already, its answer was saved."
    due = counted(staff.count_due(), "account")
    return f"Stopped. What was sent has been saved; still due: {due}. The next run goes on."


def _one(account: OntraportAccount) -> Report:
    if account.method != Method.OAUTH:
        return _check_key(account)
    refreshing.refresh(account)
    return Report(
        lines=[
            f"Refreshed {account_argument.name_of(account)}. Its token is valid until {account.expires_at:%Y-%m-%d %H:%M} UTC."
        ],
        data={"uid": str(account.uid), "refreshed": True, "expires_at": iso(account.expires_at)},
    )


def _reconsider(progress: Progress) -> Report:
    """Try the accounts again that were marked because their grant had ended. Those whose grant has really ended are marked again."""
    refreshing.require_own_database()
    pks = refreshing.reconsider()
    outcomes: Counter[str] = Counter()
    for start in range(0, len(pks), refreshing.BATCH_SIZE):
        outcomes.update(refreshing.refresh_batch(pks[start : start + refreshing.BATCH_SIZE]))
        progress(f"{counted(outcomes.total(), 'account')}: {summarize(outcomes)}…")
    is_paused = refreshing.doubt(pks, outcomes)
    return Report(
        lines=[
            f"{counted(len(pks), 'account')} reconsidered" + (f": {summarize(outcomes)}." if outcomes else "."),
            STILL_ENDED if is_paused else BELIEVED,
        ],
        data={"reconsidered": len(pks), "outcomes": outcomes},
    )


def _check_key(account: OntraportAccount) -> Report:
    error = linking.check_key_pair(account)
    if error is not None:
        raise error
    return Report(
        lines=[f"Ontraport accepts the API key of {account_argument.name_of(account)}. There is no token to refresh."],
        data={"uid": str(account.uid), "refreshed": False, "accepted": True},
    )


def _all(progress: Progress) -> Report:
    """Do one round of the beat task and the workers. Accounts that Ontraport asked to wait are not due, and wait."""
    refreshing.require_own_database()
    linking.forget_old_attempts()
    outcomes: Counter[str] = Counter()
    unknown: list[int] = []
    for pks in refreshing.due_batches(int(conf.ONTRAPORT_REFRESH_RATE * INTERVAL)):
        outcomes.update(refreshing.refresh_batch(pks))
        unknown += linking.without_id(pks)
        progress(f"{counted(outcomes.total(), 'account')}: {summarize(outcomes)}…")
    staff.count_refreshes(outcomes)
    checked = linking.check_key_pairs(MAX_KEYS)
    revoked = refreshing.deliver_revocations(MAX_REVOCATIONS)
    refreshing.record_command()
    linking.learn_ids(unknown[:MAX_IDS])
    told = staff.send_notices(NOTICES)  # last, so that no mail server delays a refresh
    staff.delete_old_rows()
    (standing,) = staff.check_standing()
    return Report(
        lines=[
            f"{counted(outcomes.total(), 'account')} due" + (f": {summarize(outcomes)}." if outcomes else "."),
            *([f"{counted(sum(checked.values()), 'API key')} checked: {summarize(checked)}."] if checked else []),
            *([f"{counted(revoked, 'grant')} revoked at Ontraport."] if revoked else []),
            *([f"{counted(told, 'e-mail')} sent."] if told else []),
        ],
        data={"due": outcomes.total(), "outcomes": outcomes, "keys": checked, "revoked": revoked, "told": told},
        problem=_problem(standing, is_unreachable=is_unreachable(outcomes, checked)),
        status=FAILED if standing.level == Level.ERROR else TRY_LATER,
    )


def _problem(standing: Finding, *, is_unreachable: bool) -> str:
    if standing.level != Level.OK:
        return f"Refreshing is {standing.text}. {standing.hint}"
    return "Ontraport couldn't be reached for any account. The next run will try again." if is_unreachable else ""
