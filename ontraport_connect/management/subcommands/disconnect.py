"""``disconnect``: disconnect one account, or all of them before the app is uninstalled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db import IntegrityError, transaction
from django.utils import timezone

from ontraport_connect import linking, refreshing
from ontraport_connect.database import alias
from ontraport_connect.management.questions import ask
from ontraport_connect.management.reports import FAILED, TRY_LATER, Progress, Report, counted
from ontraport_connect.management.subcommands import account_argument
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation

HELP = (
    "Disconnect one account, or with --all every account: its credentials are deleted at once, and Ontraport is asked to revoke the access"
    " unless another connection uses it."
)

PATIENCE = 10
"""Revocations that fail one after the other before the rest is left in the queue: Ontraport is away."""


def add_arguments(parser: CommandParser) -> None:
    parser.usage = "%(prog)s [-h] [--json] [--yes] (UID | --all)"  # argparse shows no group that has a positional
    which = parser.add_mutually_exclusive_group(required=True)
    account_argument.add_uid(which, nargs="?")
    which.add_argument("--all", action="store_true", help="every account of this site, before it is uninstalled")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    if options["all"]:
        return _all(options, progress)
    return _one(options, account_argument.account_of(options["uid"]))


def after_a_stop(options: Mapping[str, Any], last: str) -> str:
    accounts = OntraportAccount.objects.using(alias())
    if not options["all"]:
        is_there = accounts.filter(uid=options["uid"]).exists()
        return f"Stopped. The account is {'still connected' if is_there else 'disconnected'}."
    queued = OntraportRevocation.objects.using(alias()).count()
    return (
        f"Stopped. Still connected: {counted(accounts.count(), 'account')}; not revoked yet: {counted(queued, 'grant')}."
        " Run this again to go on."
    )


def _one(options: Mapping[str, Any], account: OntraportAccount) -> Report:
    uid, name = account.uid, account_argument.name_of(account)
    ask(options, f"Disconnect {name}? Only the owner can reconnect it.")
    is_shared = refreshing.is_grant_shared(account)
    is_revoked = linking.unlink(account)
    is_waiting = OntraportRevocation.objects.using(alias()).filter(account_uid=uid).exists()
    what_follows = ", and Ontraport was told." if is_revoked else "."
    if is_waiting:
        what_follows = ". Ontraport could not be told yet: the revocation is queued, and the beat task tries again."
    if is_shared:
        what_follows = ". Ontraport keeps the access, because another connection on this site uses it."
    return Report(
        lines=[f"Disconnected {name}{what_follows}"],
        data={"uid": str(uid), "disconnected": True, "revocation_pending": is_waiting, "grant_shared": is_shared},
    )


def _all(options: Mapping[str, Any], progress: Progress) -> Report:
    """Delete every account, and then revoke every grant that is queued, also by earlier runs. It can be interrupted and run again."""
    refreshing.require_own_database()
    pks = list(OntraportAccount.objects.using(alias()).order_by("pk").values_list("pk", flat=True))
    if pks:
        ask(
            options,
            f"Disconnect {counted(len(pks), 'account')}, all of this site? Only the owners can reconnect them.",
        )
    begun = timezone.now()
    deleted: Counter[bool] = Counter()
    for pk in pks:
        deleted[_delete(pk)] += 1
        progress(f"{counted(deleted[True], 'account')} of {len(pks)} disconnected…")
    results = _revoke(progress)
    events = OntraportEvent.objects.using(alias()).filter(kind=EventKind.DISCONNECTED, at__gte=begun)
    lost = results["dropped"] + events.exclude(detail="").count()
    queued = OntraportRevocation.objects.using(alias()).count()
    return Report(
        lines=[
            f"{counted(deleted[True], 'account')} disconnected.",
            f"{counted(results['revoked'], 'grant')} revoked at Ontraport, {queued} queued, {lost} not revocable.",
        ],
        data={
            "disconnected": deleted[True],
            "revoked": results["revoked"],
            "queued": queued,
            "not_revocable": lost,
            "failed": deleted[False],
        },
        problem=_problem(queued=queued, lost=lost, failed=deleted[False]),
        status=FAILED if lost or deleted[False] else TRY_LATER,
    )


def _delete(pk: int) -> bool:
    """Delete an account. Returns False when other rows of the site need it (``on_delete=PROTECT``)."""
    try:
        with transaction.atomic(using=alias()):
            OntraportAccount.objects.using(alias()).filter(pk=pk).delete()
    except IntegrityError:
        return False
    return True


def _revoke(progress: Progress) -> Counter[str]:
    results: Counter[str] = Counter()
    failures = 0
    for result in refreshing.deliver_every_revocation():
        results[result] += 1
        failures = failures + 1 if result == "kept" else 0
        progress(f"{counted(results['revoked'], 'grant')} revoked, {results['kept']} queued…")
        if failures == PATIENCE:
            break
    return results


def _problem(*, queued: int, lost: int, failed: int) -> str:
    """Return what is left to do, in sentences."""
    sentences = []
    if failed:
        sentences.append(
            f"{counted(failed, 'account')} could not be deleted, because other data of this site needs it."
        )
    if lost:
        sentences.append(
            f"{counted(lost, 'grant')} cannot be revoked from here (the log and the accounts' history say why): let the owners end the"
            " access in Ontraport."
        )
    if queued:
        sentences.append(f"{counted(queued, 'grant')} could not be revoked yet: run this again before you uninstall.")
    return " ".join(sentences)
