"""Link an Ontraport account with an App ID and API key, and find out once a day whether Ontraport still accepts it."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from ontraport_connect import refreshing, using
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import (
    LinkingFailed,
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.protocol import Answer
from ontraport_connect.signals import account_linked
from ontraport_connect.using import rest

from .identity import number_of
from .owner import Owner

logger = logging.getLogger("ontraport_connect")

CHEAP_CALL = "objects/getInfo?objectID=0"
CHECK_AFTER = 86_400.0
"""Seconds between two checks of a key pair that Ontraport accepts."""

MOST_TRIES = 30
TRIES_WITHIN = 600.0
"""Seconds in which a person may try so many key pairs: each try is a call of Ontraport, from this site's address."""

TRY_AGAIN_AFTER = 3600.0
"""Seconds after which a check that came to nothing is made again."""


def link_key_pair(
    owner: Owner, *, app_id: Secret, api_key: Secret, label: str = "", account: OntraportAccount | None = None
) -> OntraportAccount:
    """Link, or link ``account`` again, with a key pair that one live call has proven. Raises ``LinkingFailed``; nothing is stored then."""
    if using.throttle(f"keys:{owner.user.pk}", most=MOST_TRIES, seconds=TRIES_WITHIN):
        raise LinkingFailed(
            _("You have tried many keys. Please look them up in Ontraport, and try again in ten minutes."),
            code="too_many",
        )
    ontraport_id = verify(app_id, api_key)
    if account is not None and account.ontraport_id != ontraport_id:
        raise LinkingFailed(
            _("These keys belong to Ontraport account %(came)s, but this connection is for account %(expected)s.")
            % {"came": ontraport_id, "expected": account.ontraport_id},
            code="different_account",
        )
    values = {
        "app_id": app_id,
        "access_token": api_key,
        **({"label": label} if label else {}),
        "status": Status.CONNECTED,
        "linked_at": timezone.now(),
        "last_error": "",
        "failures": 0,
        "refresh_at": timezone.now() + timedelta(seconds=_next_check()),
    }
    try:
        return _save(owner, ontraport_id, values, account)
    except IntegrityError:  # the same pair, at the same moment
        return _save(owner, ontraport_id, values, account)


def verify(app_id: Secret, api_key: Secret) -> str:
    """Return the number of the Ontraport account that the pair opens, by one cheap call. Raises ``LinkingFailed``."""
    try:
        refreshing.require_own_database()
        with refreshing.new_transport() as transport:
            url = urljoin(conf.ONTRAPORT_REST_URL, CHEAP_CALL)
            answer = transport.send("GET", url, headers={"Api-Appid": app_id, "Api-Key": api_key})
    except OntraportError as error:
        raise _not_tried(error) from None
    ontraport_id = _account_id(answer)
    if not ontraport_id:
        raise _refused(answer)
    return ontraport_id


def _not_tried(error: OntraportError) -> LinkingFailed:
    if isinstance(error, OntraportMisconfigured):
        logger.critical("Nobody can link an API key: %s", error)
        return LinkingFailed(
            _("This site is not set up correctly for Ontraport. Its operator has been told."), code="misconfigured"
        )
    return LinkingFailed(
        _("Ontraport could not be reached, so the keys could not be tried. Please try again in a few minutes."),
        code="unavailable",
    )


def _refused(answer: Answer) -> LinkingFailed:
    if answer.status == 401:
        return LinkingFailed(
            _("Ontraport does not know this App ID and API key. Please copy both again."), code="key_refused"
        )
    if answer.status == 403:
        return LinkingFailed(
            _(
                "Ontraport knows this key, but it may not read contacts. Give its user that permission, or use another key."
            ),
            code="key_forbidden",
        )
    return LinkingFailed(
        _("Ontraport cannot check keys at this moment. Yours may be right; please try again in a few minutes."),
        code="unavailable",
    )


def _account_id(answer: Answer) -> str:
    try:
        envelope = answer.json() if answer.status == 200 else None
    except ValueError:
        envelope = None
    return number_of(envelope.get("account_id")) if isinstance(envelope, dict) else ""


def _save(
    owner: Owner, ontraport_id: str, values: Mapping[str, Any], again: OntraportAccount | None
) -> OntraportAccount:
    with transaction.atomic(using=alias()):
        account = _place(owner, ontraport_id, again)
        is_new = account is None
        if account is None:
            account = OntraportAccount(
                user=owner.user,
                tenant=owner.tenant or "",
                method=Method.API_KEY,
                ontraport_id=ontraport_id,
                is_default=not owner.accounts().filter(is_default=True).exists(),
            )
        for name, value in values.items():
            setattr(account, name, value)
        account.save(using=alias())
        OntraportEvent.record(account, EventKind.LINKED if is_new else EventKind.RECONNECTED, using=alias())
        transaction.on_commit(
            lambda: account_linked.send_robust(sender=OntraportAccount, account=account, created=is_new), using=alias()
        )
    return account


def _place(owner: Owner, ontraport_id: str, again: OntraportAccount | None) -> OntraportAccount | None:
    """Return the row that the pair belongs into, locked; ``None``: a new one. Raises ``LinkingFailed``."""
    rows = owner.accounts().select_for_update().filter(method=Method.API_KEY, ontraport_id=ontraport_id)
    account: OntraportAccount | None = rows.first()
    if again is not None and (account is None or account.pk != again.pk):
        raise LinkingFailed(_("This connection was removed in the meantime. Please connect anew."), code="gone")
    return account


def check_key_pair(account: OntraportAccount) -> OntraportError | None:
    """Find out whether Ontraport still accepts the key pair of ``account``, and mark it if not. Returns what was in the way."""
    try:
        rest(account, "GET", CHEAP_CALL, patience=0)
    except OntraportRejected as error:
        if error.status != 403:  # who may not read contacts is known all the same
            return error
    except (OntraportUnavailable, OntraportMisconfigured, ReconnectRequired) as error:
        return error
    OntraportAccount.objects.using(alias()).filter(pk=account.pk, status=Status.CONNECTED).update(
        refreshed_at=Now(), refresh_at=refreshing.from_now(_next_check())
    )
    return None


def _next_check() -> float:
    """Return the seconds to the next check of a pair; pairs linked together are not checked together."""
    return CHECK_AFTER * random.uniform(0.9, 1)  # noqa: S311  # jitter


def check_key_pairs(limit: int) -> dict[str, int]:
    """Check up to ``limit`` key pairs that were not checked for a day, and return how often what came out.

    It stops when Ontraport is away. A pair that could not be checked has its turn again in an hour. In a copy of another installation's
    database none is checked.
    """
    counts: dict[str, int] = {}
    if not refreshing.is_own_database():
        return counts
    for account in _due(limit):
        error = check_key_pair(account)
        code = "accepted" if error is None else error.code
        counts[code] = counts.get(code, 0) + 1
        if isinstance(error, OntraportUnavailable) and code != refreshing.RATE_LIMITED:
            break
    return counts


def _due(limit: int) -> Iterator[OntraportAccount]:
    """Yield the accounts to be checked now, each put off in the same moment, so that nobody else checks it too."""
    due = OntraportAccount.objects.using(alias()).due().usable().filter(method=Method.API_KEY)
    for pk in list(due.order_by("refresh_at", "pk").values_list("pk", flat=True)[:limit]):
        if due.filter(pk=pk).update(refresh_at=refreshing.from_now(TRY_AGAIN_AFTER)):
            yield from OntraportAccount.objects.using(alias()).select_related("user").filter(pk=pk)
