"""``refresh``: one account now, or from cron whatever is due, where no Celery runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import linking, refreshing, staff
from ontraport_connect.conf import conf
from ontraport_connect.management.reports import FAILED, TRY_LATER, Progress, Report
from ontraport_connect.management.subcommands import choosing
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.schedule import INTERVAL
from ontraport_connect.staff import Level
from ontraport_connect.tasks import MOST_KEYS, MOST_REVOCATIONS

HELP = (
    "Refresh one account now, or with --all whatever is due: from cron every minute, it does what beat and workers do."
)


def add_arguments(parser: CommandParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    choosing.add_uid(which, nargs="?")
    which.add_argument("--all", action="store_true", help="whatever is due")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    return _all(progress) if options["all"] else _one(choosing.account_of(options["uid"]))


def _one(account: OntraportAccount) -> Report:
    if account.method != Method.OAUTH:
        return _check_key(account)
    refreshing.refresh(account)
    return Report(
        lines=[
            f"{choosing.name_of(account)} is refreshed; its token is good until {account.expires_at:%Y-%m-%d %H:%M} UTC."
        ],
        data={"uid": str(account.uid), "refreshed": True, "expires_at": account.expires_at},
    )


def _check_key(account: OntraportAccount) -> Report:
    error = linking.check_key_pair(account)
    if error is not None:
        raise error
    return Report(
        lines=[
            f"{choosing.name_of(account)} is linked with an API key, which Ontraport accepts; there is no token to refresh."
        ],
        data={"uid": str(account.uid), "refreshed": False, "accepted": True},
    )


def _all(progress: Progress) -> Report:
    """Do one round of the beat task and of the workers. What Ontraport asked to wait for waits: the rows know."""
    refreshing.require_own_database()
    refreshing.record_beat()
    refreshing.record_worker()
    linking.forget_used_states()
    outcomes: Counter[str] = Counter()
    for pks in refreshing.due_batches(int(conf.ONTRAPORT_REFRESH_RATE * INTERVAL)):
        outcomes.update(refreshing.refresh_batch(pks))
        progress(f"{outcomes.total()} accounts: {_counted(outcomes)} …")
    checked = linking.check_key_pairs(MOST_KEYS)
    revoked = refreshing.deliver_revocations(MOST_REVOCATIONS)
    told = staff.send_due_notices()
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


def _counted(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in outcomes.items())
