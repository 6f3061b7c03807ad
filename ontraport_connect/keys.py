"""Link an Ontraport account with an App ID and API key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from . import service
from .conf import conf
from .database import alias
from .exceptions import LinkingFailed, OntraportError
from .linking import Owner
from .models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from .secret import Secret
from .signals import account_linked
from .transport import Answer


def link(
    owner: Owner, *, app_id: Secret, api_key: Secret, label: str = "", account: OntraportAccount | None = None
) -> OntraportAccount:
    """Link, or link again, with a key pair that one live call has proven. Raises ``LinkingFailed``; nothing is stored then."""
    ontraport_id = verify(app_id, api_key)
    if account is not None and account.ontraport_id and account.ontraport_id != ontraport_id:
        raise LinkingFailed(
            _("These keys belong to Ontraport account %(came)s, but this connection is for account %(expected)s.")
            % {"came": ontraport_id, "expected": account.ontraport_id},
            code="different_account",
        )
    try:
        return _save(owner, app_id, api_key, label, ontraport_id)
    except IntegrityError:
        return _save(owner, app_id, api_key, label, ontraport_id)


def verify(app_id: Secret, api_key: Secret) -> str:
    """Return the number of the Ontraport account that the pair opens, by one cheap call. Raises ``LinkingFailed``."""
    url = urljoin(conf.ONTRAPORT_REST_URL, "objects/getInfo?objectID=0")
    try:
        with service.new_transport() as transport:
            answer = transport.send("GET", url, headers={"Api-Appid": app_id, "Api-Key": api_key})
    except OntraportError:
        raise LinkingFailed(
            _("Ontraport could not be reached, so the keys could not be tried. Please try again."), code="unavailable"
        ) from None
    if answer.status == 401:
        raise LinkingFailed(
            _("Ontraport does not know this App ID and API key. Please copy both again."), code="key_refused"
        )
    if answer.status == 403:
        raise LinkingFailed(
            _(
                "Ontraport knows this key, but it may not read contacts. Give its user that permission, or use another key."
            ),
            code="key_forbidden",
        )
    ontraport_id = _account_id(answer)
    if not ontraport_id:
        raise LinkingFailed(
            _("Ontraport's answer could not be understood. Please try again in a few minutes."), code="unavailable"
        )
    return ontraport_id


def _account_id(answer: Answer) -> str:
    try:
        envelope = answer.json() if answer.status == 200 else None
    except ValueError:
        envelope = None
    number = envelope.get("account_id") if isinstance(envelope, dict) else None
    return str(number) if isinstance(number, (int, str)) and 0 < len(str(number)) <= 40 else ""


def _save(owner: Owner, app_id: Secret, api_key: Secret, label: str, ontraport_id: str) -> OntraportAccount:
    with transaction.atomic(using=alias()):
        rows = owner.accounts()
        account: OntraportAccount | None = (
            rows.select_for_update().filter(method=Method.API_KEY, ontraport_id=ontraport_id).first()
        )
        is_new = account is None
        if account is None:
            account = OntraportAccount(
                user=owner.user,
                tenant=owner.tenant or "",
                method=Method.API_KEY,
                ontraport_id=ontraport_id,
                is_default=not rows.filter(is_default=True).exists(),
            )
        values: Mapping[str, Any] = {
            "app_id": app_id,
            "access_token": api_key,
            "label": label or account.label,
            "status": Status.CONNECTED,
            "linked_at": timezone.now(),
            "last_error": "",
        }
        for name, value in values.items():
            setattr(account, name, value)
        account.save(using=alias())
        OntraportEvent.record(account, EventKind.LINKED if is_new else EventKind.RECONNECTED, using=alias())
        transaction.on_commit(
            lambda: account_linked.send_robust(sender=OntraportAccount, account=account, created=is_new), using=alias()
        )
    return account
