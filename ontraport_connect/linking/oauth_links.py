"""Link or reconnect an account with OAuth: send the browser to Ontraport, handle the authorization response, exchange the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context

from django.db import Error as DatabaseFailure
from django.utils.translation import gettext as _

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import one_database, while_waiting
from ontraport_connect.exceptions import (
    LinkingFailed,
    OntraportError,
    OntraportMisconfigured,
    ReconnectRequired,
)
from ontraport_connect.models import OntraportAccount
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import AuthorizationResponse, Grant, challenge_of, new_verifier

from . import attempts, limits
from .attempts import Attempt
from .grant_storage import store_grant
from .owner import Owner
from .refusals import require_success


def begin(
    browser: str,
    owner: Owner,
    *,
    redirect_uri: str,
    client_id: str = "",
    next_url: str = "",
    origin: str = "",
    account: OntraportAccount | None = None,
) -> str:
    """Start an attempt to link an account, or to reconnect ``account``, and return the authorization URL to redirect the browser to.

    ``browser`` is what the person's browser is known by: an unguessable text from a cookie. ``client_id`` is the URL of the client
    metadata document, used on sites without ``ONTRAPORT_CLIENT_ID``. ``origin`` is the scheme and host to come back to at last, where
    that is not the callback's. Raises ``LinkingFailed`` when the owner has too many accounts for another one, and
    ``OntraportMisconfigured``, also in a copy of another installation's database, where links of two sites would be mixed.
    """
    refreshing.require_own_database()
    if account is None:
        limits.require_room(owner)
    client = refreshing.oauth_client(conf.ONTRAPORT_CLIENT_ID or client_id)
    new_state, verifier = attempts.new_state(), new_verifier()
    url = client.authorization_url(redirect_uri=redirect_uri, state=new_state, challenge=challenge_of(verifier))
    attempt = Attempt(
        owner=str(owner.user.pk),
        tenant=owner.tenant,
        redirect_uri=redirect_uri,
        client_id=client.client_id,
        issuer=refreshing.issuer(),
        scope=" ".join(client.scopes),
        next=next_url,
        origin=origin,
        account="" if account is None else str(account.uid),
        verifier=attempts.seal_verifier(new_state, verifier),
    )
    attempts.keep_attempt(browser, new_state, attempt)
    return url


def complete(
    browser: str, owner: Owner, parameters: Mapping[str, Sequence[str]], *, address: str = ""
) -> tuple[OntraportAccount, Attempt]:
    """Complete the attempt that an authorization response belongs to. Returns the account, new or reconnected, and the attempt.

    ``parameters`` are the callback's query parameters, each with all of its values; ``address`` is the client's IP address. No request is
    sent before state, user, tenant and issuer have been compared. A response whose ``state`` is of no attempt in this ``browser`` changes
    nothing. Raises only ``LinkingFailed``: other errors are logged here, without the request, because its URL contains the code.
    """
    return _complete_or_fail(browser, owner, AuthorizationResponse.read(parameters), address)


def _complete_or_fail(
    browser: str, owner: Owner, response: AuthorizationResponse, address: str
) -> tuple[OntraportAccount, Attempt]:
    """Turn unexpected errors into ``LinkingFailed``. A separate function, so that the logged frames do not contain ``parameters``."""
    try:
        return _complete(browser, owner, response, address)
    except LinkingFailed:
        raise
    except Exception:  # noqa: BLE001  # logged with its traceback; the customer gets a page
        _log_without_request(logger.exception, "Linking failed")
    raise LinkingFailed(_("Something went wrong on our side. Nothing was connected. Please try again."), code="failed")


@one_database()  # what comes for the code exists nowhere else
def _complete(
    browser: str, owner: Owner, response: AuthorizationResponse, address: str
) -> tuple[OntraportAccount, Attempt]:
    attempt = _matching_attempt(browser, owner, response)
    attempts.take_attempt(response.state)
    try:
        require_success(response)
        if not attempt.account:
            limits.require_room(owner)  # again: others may have been completed since
        limits.count_exchange(owner, address)
        return store_grant(owner, attempt, _exchanged(owner, attempt, response), state=response.state), attempt
    finally:
        with suppress(DatabaseFailure):
            attempts.finish_attempt(response.state)


def _exchanged(owner: Owner, attempt: Attempt, response: AuthorizationResponse) -> Grant:
    try:
        refreshing.require_own_database()
        refreshing.require_storable(owner.new_account(client_id=attempt.client_id, issuer=attempt.issuer))
        refreshing.wait_for_revocations()
        with refreshing.new_transport() as transport:
            client = refreshing.oauth_client(attempt.client_id, attempt.issuer)
            verifier = attempt.open_verifier(response.state)
            with while_waiting():
                return client.exchange(
                    transport, code=response.code, redirect_uri=attempt.redirect_uri, verifier=verifier
                )
    except OntraportError as error:
        raise _exchange_failed(error) from None


def _matching_attempt(browser: str, owner: Owner, response: AuthorizationResponse) -> Attempt:
    attempt = None if response.is_repeated else attempts.find_attempt(browser, response.state)
    if attempt is None:
        raise LinkingFailed(_("This sign-in link is no longer valid."), code="unknown")
    if attempt.owner != str(owner.user.pk):
        raise LinkingFailed(_("Someone else started this."), code="other_owner")
    if attempt.tenant != owner.tenant:
        raise LinkingFailed(_("You've switched workspaces"), code="switched_tenant")
    issuer = refreshing.endpoints().issuer
    if issuer is not None and response.issuer != issuer:
        attempts.take_attempt(response.state)
        attempts.finish_attempt(response.state)
        raise LinkingFailed(_("The answer didn't come from Ontraport."), code="issuer")
    return attempt


def _log_without_request(log: Callable[..., None], *args: object) -> None:
    """Log in an empty context, where error reporters find no request to attach: its URL contains the code."""
    Context().run(log, *args)


def _exchange_failed(error: OntraportError) -> LinkingFailed:
    if isinstance(error, ReconnectRequired):
        return LinkingFailed(
            _("Ontraport couldn't confirm the sign-in. It may have been used already, or have taken too long."),
            code="code",
        )
    if isinstance(error, OntraportMisconfigured):
        _log_without_request(logger.critical, "Linking failed for a reason that only the operator can fix: %s", error)
        return LinkingFailed(
            _(
                "Ontraport isn't set up correctly on this site. Please try again later. If it keeps happening, let us know."
            ),
            code="misconfigured",
        )
    logger.warning("Linking failed: %s (%s)", error, error.code)
    return LinkingFailed(
        _("We couldn't reach Ontraport. Nothing changed. Please try again in a moment."), code="unavailable"
    )
