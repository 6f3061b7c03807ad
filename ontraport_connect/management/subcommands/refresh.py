"""``refresh``: refresh one account now, or all that are due (from cron, where Celery does not run)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import linking, refreshing, staff
from ontraport_connect.conf import conf
from ontraport_connect.management.reports import FAILED, TRY_LATER, Progress, Report
from ontraport_connect.management.subcommands import account_argument
from ontraport_connect.management.time_limit import time_limit
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.schedule import INTERVAL
from ontraport_connect.staff import Level
from ontraport_connect.tasks import MAX_KEYS, MAX_REVOCATIONS

HELP = (
    "Refresh one account now, or with --all whatever is due: from cron every minute, it does what beat and workers do."
)

NOTICES = 20.0
"""Seconds after which no further e-mail is begun."""


def add_arguments(parser: CommandParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    account_argument.add_uid(which, nargs="?")
    which.add_argument("--all", action="store_true", help="whatever is due")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    return _all(progress) if options["all"] else _one(account_argument.account_of(options["uid"]))


def _one(account: OntraportAccount) -> Report:
    if account.method != Method.OAUTH:
        return _check_key(account)
    refreshing.refresh(account)
    return Report(
        lines=[
            f"{account_argument.name_of(account)} is refreshed; its token is good until {account.expires_at:%Y-%m-%d %H:%M} UTC."
        ],
        data={"uid": str(account.uid), "refreshed": True, "expires_at": account.expires_at},
    )


def _check_key(account: OntraportAccount) -> Report:
    error = linking.check_key_pair(account)
    if error is not None:
        raise error
    return Report(
        lines=[
            f"{account_argument.name_of(account)} is linked with an API key, which Ontraport accepts; there is no token to refresh."
        ],
        data={"uid": str(account.uid), "refreshed": False, "accepted": True},
    )


def _all(progress: Progress) -> Report:
    """Do one round of the beat task and the workers. Accounts that Ontraport asked to wait are not due, and wait."""
    linking.forget_used_states()
    outcomes: Counter[str] = Counter()
    for pks in refreshing.due_batches(int(conf.ONTRAPORT_REFRESH_RATE * INTERVAL)):
        outcomes.update(refreshing.refresh_batch(pks))
        progress(f"{outcomes.total()} accounts: {_counted(outcomes)} …")
    checked = linking.check_key_pairs(MAX_KEYS)
    revoked = refreshing.deliver_revocations(MAX_REVOCATIONS)
    refreshing.record_beat()
    refreshing.record_worker()
    told = _send_notices()
    (standing,) = staff.check_standing()
    return Report(
        lines=[
            f"{outcomes.total()} accounts were due" + (f": {_counted(outcomes)}." if outcomes else "."),
            *([f"{sum(checked.values())} API keys were checked: {_counted(checked)}."] if checked else []),
            *([f"{revoked} ended grants were told to Ontraport."] if revoked else []),
            *([f"{told} people were told by e-mail."] if told else []),
        ],
        data={"due": outcomes.total(), "outcomes": outcomes, "keys": checked, "revoked": revoked, "told": told},
        problem="" if standing.level == Level.OK else f"{standing.text}. {standing.hint}",
        status=FAILED if standing.level == Level.ERROR else TRY_LATER,
    )


def _send_notices(seconds: float = NOTICES) -> int:
    """Send the notices last, so that no mail server delays a refresh, and end whatever it does: cron must not pile up behind it."""
    with suppress(TimeoutError), time_limit(2 * seconds):
        return staff.send_due_notices(seconds)
    return 0


def _counted(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in outcomes.items())
