"""Make a link, and let it go: begin, complete, link a key pair, unlink."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.db import Error as DatabaseFailure
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret, current_key_id
from ontraport_connect.exceptions import (
    LinkingFailed,
    OntraportError,
    OntraportMisconfigured,
    ReconnectRequired,
    SecretUnreadable,
)
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.protocol import AuthorizationResponse, Grant, challenge_of, new_verifier
from ontraport_connect.signals import account_linked

from . import attempts
from .attempts import Attempt
from .identity import Identity, identify
from .owner import Owner
from .refusals import require_success

logger = logging.getLogger("ontraport_connect")


def begin(
    session: SessionBase,
    owner: Owner,
    *,
    redirect_uri: str,
    client_id: str = "",
    next_url: str = "",
    account: OntraportAccount | None = None,
) -> str:
    """Start an attempt to link, or to reconnect ``account``, and return the URL at Ontraport to send the browser to.

    ``client_id`` is the URL of the client metadata document, for a site without ``ONTRAPORT_CLIENT_ID``. Raises ``OntraportMisconfigured``,
    also in a copy of another installation's database, where links of two sites would be mixed.
    """
    refreshing.require_own_database()
    own_client_id = "" if conf.ONTRAPORT_CLIENT_ID else client_id
    client = refreshing.oauth_client(own_client_id)
    new_state, verifier = attempts.new_state(), new_verifier()
    url = client.authorization_url(redirect_uri=redirect_uri, state=new_state, challenge=challenge_of(verifier))
    attempt = Attempt(
        owner=str(owner.user.pk),
        tenant=owner.tenant,
        redirect_uri=redirect_uri,
        client_id=own_client_id,
        scope=" ".join(client.scopes),
        next=next_url,
        account="" if account is None else str(account.uid),
        verifier=attempts.seal_verifier(new_state, verifier),
        started=time.time(),
    )
    attempts.keep_attempt(session, new_state, attempt)
    return url


def complete(
    session: SessionBase, owner: Owner, parameters: Mapping[str, Sequence[str]]
) -> tuple[OntraportAccount, Attempt]:
    """Finish the attempt that an authorization response belongs to, and return the account, new or reconnected in place.

    ``parameters`` are those of the callback, each with all its values. Nothing is sent before state, person, tenant and issuer have been
    compared, and nothing changes for a response whose ``state`` is not this session's. Raises ``LinkingFailed``, and nothing else: what
    goes wrong in here is logged without the request, whose address holds the code.
    """
    return _guarded(session, owner, AuthorizationResponse.read(parameters))


def _guarded(session: SessionBase, owner: Owner, response: AuthorizationResponse) -> tuple[OntraportAccount, Attempt]:
    """Keep ``parameters`` out of the frames that are logged."""
    try:
        return _complete(session, owner, response)
    except LinkingFailed:
        raise
    except Exception:  # noqa: BLE001  # logged in full, and the customer gets a page with a way on
        _log_without_request(logger.exception, "Linking failed")
    raise LinkingFailed(_("Something went wrong here. Nothing was connected; please start again."), code="failed")


def _complete(session: SessionBase, owner: Owner, response: AuthorizationResponse) -> tuple[OntraportAccount, Attempt]:
    attempt = _find(session, owner, response)
    attempts.take_attempt(session, response.state, attempt)
    require_success(response)
    try:
        refreshing.require_own_database()
        current_key_id()
        with refreshing.new_transport() as transport:
            client = refreshing.oauth_client(attempt.client_id)
            verifier = attempt.open_verifier(response.state)
            grant = client.exchange(transport, code=response.code, redirect_uri=attempt.redirect_uri, verifier=verifier)
    except OntraportError as error:
        raise _exchange_failed(error) from None
    return _store(owner, attempt, grant), attempt


def _find(session: SessionBase, owner: Owner, response: AuthorizationResponse) -> Attempt:
    attempt = None if response.is_repeated else attempts.find_attempt(session, response.state)
    if attempt is None:
        raise LinkingFailed(_("This answer belongs to no attempt that was started in this browser."), code="unknown")
    if attempt.owner != str(owner.user.pk) or attempt.tenant != owner.tenant:
        raise LinkingFailed(_("This attempt was started by somebody else."), code="other_owner")
    issuer = refreshing.endpoints().issuer
    if issuer is not None and response.issuer != issuer:
        attempts.take_attempt(session, response.state, attempt)
        raise LinkingFailed(_("The answer did not come from Ontraport."), code="issuer")
    return attempt


def _log_without_request(log: Callable[..., None], *args: object) -> None:
    """Log where error reporters find no request to add: the address of this one holds the code."""
    Context().run(log, *args)


def _exchange_failed(error: OntraportError) -> LinkingFailed:
    if isinstance(error, ReconnectRequired):
        return LinkingFailed(
            _("Ontraport did not accept its own answer; it may have been used before, or took too long."), code="code"
        )
    if isinstance(error, OntraportMisconfigured):
        _log_without_request(logger.critical, "Linking failed for a reason that only the operator can mend: %s", error)
        return LinkingFailed(
            _("This site is not set up correctly for Ontraport. Its operator has been told."), code="misconfigured"
        )
    logger.warning("Linking failed: %s (%s)", error, error.code)
    return LinkingFailed(
        _("Ontraport could not be reached. Nothing was changed; please try again in a moment."), code="unavailable"
    )


def _store(owner: Owner, attempt: Attempt, grant: Grant) -> OntraportAccount:
    """Save a new grant. One that is not saved is revoked, so that no grant lives that nobody knows."""
    identity = Identity()
    try:
        identity = Context().run(identify, grant.access_token)  # for what the MCP SDK logs, see _log_without_request
        return _save(owner, attempt, grant, identity)
    except IntegrityError:
        _revoke_unsaved(attempt, grant)
    except Exception:
        _revoke_unsaved(attempt, grant)
        raise
    winner: OntraportAccount | None = _same_account(owner, identity).first()
    if winner is None or attempt.account:
        raise LinkingFailed(_("This Ontraport account was changed at the same moment. Please try again."), code="twice")
    return winner


def _revoke_unsaved(attempt: Attempt, grant: Grant) -> None:
    """Revoke a grant that is in no row: in time, or else right now, for the database may be what failed."""
    token = grant.refresh_token or grant.access_token
    try:
        refreshing.deliver_revocation(refreshing.queue_revocation(OntraportAccount(client_id=attempt.client_id), token))
    except (DatabaseFailure, OntraportError):
        with suppress(OntraportError):
            refreshing.revoke_grant(attempt.client_id, token)


def _same_account(owner: Owner, identity: Identity) -> Any:
    return owner.accounts().filter(method=Method.OAUTH, ontraport_id=identity.ontraport_id).exclude(ontraport_id="")


def _save(owner: Owner, attempt: Attempt, grant: Grant, identity: Identity) -> OntraportAccount:
    with transaction.atomic(using=alias()):
        account = _place(owner, attempt, identity)
        is_new = account is None
        if account is None:
            account = OntraportAccount(
                user=owner.user,
                tenant=owner.tenant or "",
                label=identity.name,
                ontraport_id=identity.ontraport_id,
                is_default=not owner.accounts().filter(is_default=True).exists(),
            )
            account.save(using=alias())
        elif account.status == Status.CONNECTED and account.refresh_token is not None:
            _let_old_grant_go(account, account.refresh_token)
        columns = refreshing.grant_columns(account, grant, asked=attempt.scope)
        if grant.refresh_token is None:
            columns |= {"refresh_token": None, "refresh_at": columns["expires_at"]}
        OntraportAccount.objects.using(alias()).filter(pk=account.pk).update(
            **columns,
            client_id=attempt.client_id,
            ontraport_id=identity.ontraport_id or account.ontraport_id,
            status=Status.CONNECTED,
            linked_at=Now(),
            lease_owner="",
        )
        account.refresh_from_db(using=alias())
        OntraportEvent.record(account, EventKind.LINKED if is_new else EventKind.RECONNECTED, using=alias())
        transaction.on_commit(
            lambda: account_linked.send_robust(sender=OntraportAccount, account=account, created=is_new), using=alias()
        )
    return account


def _place(owner: Owner, attempt: Attempt, identity: Identity) -> OntraportAccount | None:
    """Return the row that the grant belongs into, locked; ``None``: a new one. Raises ``LinkingFailed``."""
    if not attempt.account:
        same: OntraportAccount | None = _same_account(owner, identity).select_for_update().first()
        return same
    account: OntraportAccount | None = owner.accounts().select_for_update().filter(uid=attempt.account).first()
    if account is None:
        raise LinkingFailed(_("This connection was removed in the meantime. Please connect anew."), code="gone")
    if account.ontraport_id and not identity.ontraport_id:
        raise LinkingFailed(
            _("Ontraport did not say whose account this is. Nothing was changed; please try again."),
            code="unidentified",
        )
    if account.ontraport_id and account.ontraport_id != identity.ontraport_id:
        raise LinkingFailed(
            _(
                "You signed in to Ontraport account %(came)s, but this connection is for account %(expected)s. Nothing was changed."
            )
            % {"came": identity.ontraport_id, "expected": account.ontraport_id},
            code="different_account",
        )
    return account


def _let_old_grant_go(account: OntraportAccount, refresh_token: Secret) -> None:
    try:
        old = refreshing.queue_revocation(account, refresh_token)
    except SecretUnreadable:  # nobody can revoke it any more
        return
    transaction.on_commit(lambda: refreshing.deliver_revocation(old), using=alias(), robust=True)
