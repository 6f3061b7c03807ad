"""Store a new grant in its row: that of the account to reconnect, that of an account that is linked already, or a new one."""

from __future__ import annotations

import time
from contextlib import suppress
from contextvars import Context
from typing import Any

from django.db import Error as DatabaseFailure
from django.db import IntegrityError, OperationalError, connections, transaction
from django.utils.translation import gettext as _

from ontraport_connect import refreshing
from ontraport_connect.database import alias, code_of, is_lock_timeout, short_lock_waits, while_waiting
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import LinkingFailed, OntraportError, SecretUnreadable
from ontraport_connect.models import EventKind, Method, Now, OntraportAccount, OntraportEvent, Status
from ontraport_connect.protocol import Grant
from ontraport_connect.signals import account_linked

from .attempts import Attempt, finish_attempt
from .identity import Identity, identify
from .owner import Owner

DEADLOCK = ("40P01", 1213)
"""How databases call it when they end a transaction because two waited for each other. Done again, it succeeds."""

PATIENCE = 15.0
"""Seconds for which a callback waits for a row that somebody holds: much less than revocations wait for it (``STORED_WITHIN``)."""


def store_grant(owner: Owner, attempt: Attempt, grant: Grant, *, state: str) -> OntraportAccount:
    """Save a new grant in a row, and note that the attempt, which is found by its ``state``, has ended.

    A grant that could not be saved is revoked, because nothing would refer to it.
    """
    identity = Identity()
    try:
        with while_waiting():
            identity = Context().run(identify, grant.access_token)  # the MCP SDK logs, too: see oauth_links
        try:
            return _save_patiently(owner, attempt, grant, identity, state)
        except (IntegrityError, OperationalError) as error:
            if isinstance(error, OperationalError) and code_of(error) not in DEADLOCK:
                raise
            # The same Ontraport account was linked, or its row was changed, at the same moment: it can be found now.
            return _save_patiently(owner, attempt, grant, identity, state)
    except IntegrityError:
        _revoke_unsaved(owner, attempt, grant, identity, state)
    except OperationalError as error:
        _revoke_unsaved(owner, attempt, grant, identity, state)
        if not is_lock_timeout(error):
            raise
    except BaseException:  # a receiver may end the process
        _revoke_unsaved(owner, attempt, grant, identity, state)
        raise
    raise LinkingFailed(_("This account was changed at the same moment. Please try again."), code="twice")


def _save_patiently(owner: Owner, attempt: Attempt, grant: Grant, identity: Identity, state: str) -> OntraportAccount:
    """Save, again and again while somebody holds the row, for ``PATIENCE`` seconds. Raises what ``_save`` raises."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return _save(owner, attempt, grant, identity, state)
        except OperationalError as error:
            if not is_lock_timeout(error) or time.monotonic() > give_up:
                raise


def _revoke_unsaved(owner: Owner, attempt: Attempt, grant: Grant, identity: Identity, state: str) -> None:
    """Revoke a grant that is in no row, unless a connected account may share it.

    It goes through the queue, or directly when the queue fails, since the database may be what failed.
    """
    account = owner.new_account(client_id=attempt.client_id, issuer=attempt.issuer, ontraport_id=identity.ontraport_id)
    token = grant.refresh_token or grant.access_token
    connections[alias()].close_if_unusable_or_obsolete()  # lost during the exchange? (No-op inside a transaction.)
    try:
        finish_attempt(state)  # else the revocation would wait for it
        # What is not known now decides when the grant is revoked, and not whether it is kept for that.
        with suppress(DatabaseFailure):
            if not identity.ontraport_id and not refreshing.is_grant_shared(account):
                account.ontraport_id = _expected_id(owner, attempt)
        refreshing.deliver_revocation(refreshing.queue_revocation(account, token))
    except (DatabaseFailure, OntraportError):
        with suppress(DatabaseFailure, OntraportError):
            refreshing.revoke_grant(account, token)


def _expected_id(owner: Owner, attempt: Attempt) -> str:
    """Return the Ontraport account of the link to reconnect: most likely, a grant that Ontraport did not tell the account of is for it."""
    if not attempt.account:
        return ""
    return owner.accounts().filter(uid=attempt.account).values_list("ontraport_id", flat=True).first() or ""


def _same_account(owner: Owner, identity: Identity) -> Any:
    return owner.accounts().filter(method=Method.OAUTH, ontraport_id=identity.ontraport_id).exclude(ontraport_id="")


def _save(owner: Owner, attempt: Attempt, grant: Grant, identity: Identity, state: str) -> OntraportAccount:
    with transaction.atomic(using=alias()), short_lock_waits():
        account = _row_for(owner, attempt, identity)
        is_new = account is None
        if account is None:
            account = owner.new_account(
                label=identity.name,
                ontraport_id=identity.ontraport_id,
                is_default=not owner.accounts().filter(is_default=True).exists(),
            )
            account.save(using=alias())
        elif account.status == Status.CONNECTED and account.refresh_token is not None:
            _queue_old_grant(account, account.refresh_token)
        columns = refreshing.grant_columns(account, grant, asked=attempt.scope)
        if grant.refresh_token is None:
            columns |= {"refresh_token": None, "refresh_at": columns["expires_at"]}
        OntraportAccount.objects.using(alias()).filter(pk=account.pk).update(
            **{**columns, "client_id": attempt.client_id, "issuer": attempt.issuer},
            ontraport_id=identity.ontraport_id or account.ontraport_id,
            status=Status.CONNECTED,
            linked_at=Now(),
            lease_owner="",
        )
        account.refresh_from_db(using=alias())
        finish_attempt(state)
        OntraportEvent.record(account, EventKind.LINKED if is_new else EventKind.RECONNECTED, using=alias())
        transaction.on_commit(
            lambda: refreshing.tell(account_linked, OntraportAccount, account=account, created=is_new), using=alias()
        )
    return account


def _row_for(owner: Owner, attempt: Attempt, identity: Identity) -> OntraportAccount | None:
    """Return the row to store the grant in, locked, or ``None`` for a new row. Raises ``LinkingFailed``."""
    if not attempt.account:
        same: OntraportAccount | None = _same_account(owner, identity).select_for_update().first()
        return same
    account: OntraportAccount | None = owner.accounts().select_for_update().filter(uid=attempt.account).first()
    if account is None:
        raise LinkingFailed(_("This connection was removed meanwhile. Please connect again."), code="gone")
    if account.ontraport_id and not identity.ontraport_id:
        raise LinkingFailed(
            _("Ontraport didn't say whose account this is. Nothing changed. Please try again."),
            code="unidentified",
        )
    if account.ontraport_id and account.ontraport_id != identity.ontraport_id:
        raise LinkingFailed(
            _(
                "You signed in to Ontraport account %(came)s, but this connection is for account %(expected)s. Nothing changed."
            )
            % {"came": identity.ontraport_id, "expected": account.ontraport_id},
            code="different_account",
        )
    other = _same_account(owner, identity).exclude(pk=account.pk).select_for_update().first()
    if other is not None:
        _merge(account, other)
    return account


def _merge(account: OntraportAccount, other: OntraportAccount) -> None:
    """Remove ``other``, which turned out to be the same Ontraport account, and give ``account`` its history, name and default flag."""
    OntraportEvent.objects.using(alias()).filter(account=other).update(account=account, account_uid=account.uid)
    other.delete(using=alias())
    account.is_default = account.is_default or other.is_default
    account.label = account.label or other.label
    account.save(using=alias())


def _queue_old_grant(account: OntraportAccount, refresh_token: Secret) -> None:
    try:
        old = refreshing.queue_revocation(account, refresh_token)
    except SecretUnreadable:  # a token that cannot be decrypted cannot be revoked
        return
    transaction.on_commit(lambda: refreshing.deliver_revocation(old), using=alias(), robust=True)
