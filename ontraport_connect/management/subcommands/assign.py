"""``assign``: move one account to another owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser

from ontraport_connect import linking
from ontraport_connect.conf import conf
from ontraport_connect.linking import Owner
from ontraport_connect.management.questions import ask
from ontraport_connect.management.reports import USAGE, Progress, Report
from ontraport_connect.management.subcommands import account_argument
from ontraport_connect.models import OntraportAccount, name_of

HELP = "Move one account to another owner: a tenant where ONTRAPORT_TENANT is set, otherwise a person."

LONGEST_TENANT = 200


def add_arguments(parser: CommandParser) -> None:
    account_argument.add_uid(parser)
    owner = parser.add_mutually_exclusive_group(required=True)
    owner.add_argument("--tenant", help="the tenant to move it to, as ONTRAPORT_TENANT names it")
    owner.add_argument("--user", metavar="USERNAME", help="the person to move it to")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    account = account_argument.account_of(options["uid"])
    name, owner = account_argument.name_of(account), _owner(options, account)
    before, after = _name(account.user, account.tenant), _name(owner.user, owner.tenant)
    is_new = (account.user_id, account.tenant) != (getattr(owner.user, "pk", None), owner.tenant or "")
    if is_new:
        ask(options, f"Move {name} from {before} to {after}? The present owner can no longer use it.")
        linking.assign(account, owner)
    return Report(
        lines=[f"Moved {name} from {before} to {after}." if is_new else f"{name} belongs to {after} already."],
        data={
            "uid": str(account.uid),
            "assigned": is_new,
            "owner": account.tenant or _username(account.user),
            "tenant": account.tenant,
            "user": _username(account.user),
        },
    )


def _owner(options: Mapping[str, Any], account: OntraportAccount) -> Owner:
    """Return the new owner. Raises ``CommandError`` for one who could not see the account."""
    tenant, username = options["tenant"], options["user"]
    if tenant is not None:
        if conf.ONTRAPORT_TENANT is None:
            raise _usage("ONTRAPORT_TENANT is not set, so that nobody could see an account of a tenant: use --user.")
        if not 1 <= len(tenant) <= LONGEST_TENANT:
            raise _usage(f"--tenant takes 1 to {LONGEST_TENANT} characters.")
        return Owner(user=account.user, tenant=tenant)
    if conf.ONTRAPORT_TENANT is not None:
        raise _usage("ONTRAPORT_TENANT is set, so that nobody could see an account of a person: use --tenant.")
    model: Any = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: username}).first()
    if user is None:
        raise _usage(f"There is no user {username}.")
    return Owner(user=user, tenant=None)


def _usage(text: str) -> CommandError:
    return CommandError(text, returncode=USAGE)


def _name(user: Any, tenant: str | None) -> str:
    return f"tenant {tenant}" if tenant else _username(user) or "nobody"


def _username(user: Any) -> str:
    return name_of(user) if user else ""
