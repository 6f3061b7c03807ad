"""Link an Ontraport account with a key pair (App ID and API key)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret, current_key_id
from ontraport_connect.exceptions import (
    LinkingFailed,
    OntraportError,
    OntraportMisconfigured,
)
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status, validate_label
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import Answer
from ontraport_connect.signals import account_linked

from . import limits
from .identity import CHEAP_CALL, account_id_of, next_check
from .owner import Owner


def link_key_pair(
    owner: Owner, *, app_id: Secret, api_key: Secret, label: str = "", account: OntraportAccount | None = None
) -> OntraportAccount:
    """Link a key pair after verifying it with one REST call, or replace the key pair of ``account``.

    Raises ``LinkingFailed``, and stores nothing, when the pair does not work or could not be verified, or when the label is not one plain
    line that can be seen.
    """
    label = _clean_label(label)
    if account is None:
        limits.require_room(owner)
    limits.count_key_pair(owner)
    ontraport_id = verify(app_id, api_key)
    if account is not None and account.ontraport_id != ontraport_id:
        raise LinkingFailed(
            _(
                "This key belongs to Ontraport account %(came)s, but this connection is for account %(expected)s. Sign in to account"
                " %(expected)s at Ontraport and create a key there."
            )
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
        "refresh_at": timezone.now() + timedelta(seconds=next_check()),
    }
    try:
        return _save(owner, ontraport_id, values, account)
    except IntegrityError:  # the same account was linked concurrently; its row exists now
        return _save(owner, ontraport_id, values, account)


def _clean_label(label: str) -> str:
    label = label.strip()
    try:
        validate_label(label)
    except ValidationError as error:
        raise LinkingFailed(error.messages[0], code="label") from None
    return label


def verify(app_id: Secret, api_key: Secret) -> str:
    """Return the id of the Ontraport account that the key pair belongs to, found with one REST call. Raises ``LinkingFailed``."""
    try:
        current_key_id()  # raises when the pair could not be encrypted
        refreshing.require_own_database()
        with refreshing.new_transport() as transport:
            url = urljoin(conf.ONTRAPORT_REST_URL, CHEAP_CALL)
            answer = transport.send("GET", url, headers={"Api-Appid": app_id, "Api-Key": api_key})
    except OntraportError as error:
        raise _failure_of_call(error) from None
    ontraport_id = _account_id(answer)
    if not ontraport_id:
        raise _failure_of_answer(answer)
    return ontraport_id


def _failure_of_call(error: OntraportError) -> LinkingFailed:
    if isinstance(error, OntraportMisconfigured):
        logger.critical("Nobody can link an API key: %s", error)
        return LinkingFailed(
            _(
                "Ontraport isn't set up correctly on this site. Please try again later. If it keeps happening, let us know."
            ),
            code="misconfigured",
        )
    return LinkingFailed(
        _("We couldn't reach Ontraport to check your key. Please try again in a few minutes."),
        code="unavailable",
    )


def _failure_of_answer(answer: Answer) -> LinkingFailed:
    if answer.status == 401:
        return LinkingFailed(
            _("Ontraport doesn't recognize this App ID and key. Please check both."), code="key_refused"
        )
    if answer.status == 403:
        return LinkingFailed(
            _(
                "This key isn't allowed to read contacts. Give its user that permission in Ontraport, or use another key."
            ),
            code="key_forbidden",
        )
    return LinkingFailed(
        _("Ontraport can't check keys right now. Yours may be fine. Please try again in a few minutes."),
        code="unavailable",
    )


def _account_id(answer: Answer) -> str:
    try:
        envelope = answer.json() if answer.status == 200 else None
    except ValueError:
        envelope = None
    return account_id_of(envelope.get("account_id")) if isinstance(envelope, dict) else ""


def _save(
    owner: Owner, ontraport_id: str, values: Mapping[str, Any], reconnected: OntraportAccount | None
) -> OntraportAccount:
    with transaction.atomic(using=alias()):
        account = _row_for(owner, ontraport_id, reconnected)
        is_new = account is None
        if account is None:
            account = owner.new_account(
                method=Method.API_KEY,
                ontraport_id=ontraport_id,
                is_default=not owner.accounts().filter(is_default=True).exists(),
            )
        for name, value in values.items():
            setattr(account, name, value)
        account.save(using=alias())
        OntraportEvent.record(account, EventKind.LINKED if is_new else EventKind.RECONNECTED, using=alias())
        transaction.on_commit(
            lambda: refreshing.tell(account_linked, OntraportAccount, account=account, created=is_new), using=alias()
        )
    return account


def _row_for(owner: Owner, ontraport_id: str, reconnected: OntraportAccount | None) -> OntraportAccount | None:
    """Return the row to store the key pair in, locked, or ``None`` for a new row. Raises ``LinkingFailed`` when ``reconnected`` is gone."""
    rows = owner.accounts().select_for_update().filter(method=Method.API_KEY, ontraport_id=ontraport_id)
    account: OntraportAccount | None = rows.first()
    if reconnected is not None and (account is None or account.pk != reconnected.pk):
        raise LinkingFailed(_("This connection was removed meanwhile. Please connect again."), code="gone")
    return account
