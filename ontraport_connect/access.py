"""Use an account: its credentials, made fresh first, sent to the configured hosts only, and a ``requests`` auth."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from django.db.models import F
from requests.auth import AuthBase

from . import budget, refreshing
from .budget import Turn
from .conf import conf
from .database import DATABASE_IS_AWAY, alias, has_one_writer, on_own_connection, unavailable_while_away
from .exceptions import OntraportRejected, ReconnectRequired
from .models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from .pauses import pause_of
from .secret import Secret
from .signals import account_needs_reconnect
from .transport import require_secure, reveal

logger = logging.getLogger("ontraport_connect")


def prepare(account: OntraportAccount) -> None:
    """Leave ``account`` with credentials that can be used now. Raises as ``refreshing.ensure_fresh`` does."""
    with unavailable_while_away():
        is_allowed = bool(account.tenant) or (account.user is not None and account.user.is_active)
    if not is_allowed:
        raise OntraportRejected("The owner of this Ontraport account is not active.", code="inactive_user")
    _named(account, refreshing.ensure_fresh)


def renew(account: OntraportAccount) -> None:
    """Get another access token, since Ontraport refused the one that ``account`` holds. Raises as ``refreshing.refresh`` does."""
    _named(account, refreshing.refresh)


def _named(account: OntraportAccount, step: Any) -> None:
    """Let an error that asks for a reconnect say of which account."""
    try:
        step(account)
    except ReconnectRequired as error:
        error.account_uid = account.uid
        raise


def require_destination(url: str) -> None:
    """Raise ``OntraportRejected`` unless ``url`` belongs to the configured REST or MCP address."""
    if "\\" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise OntraportRejected("No credentials are sent to an address with such characters.", code="destination")
    require_secure(url)
    if not is_rest(url) and not is_mcp(url):
        raise OntraportRejected(
            f"{urlsplit(url).hostname} is neither ONTRAPORT_REST_URL nor ONTRAPORT_MCP_URL; no credentials are sent there.",
            code="destination",
        )


def is_rest(url: str) -> bool:
    return _origin(url) == _origin(conf.ONTRAPORT_REST_URL)


def is_mcp(url: str) -> bool:
    return _origin(url) == _origin(conf.ONTRAPORT_MCP_URL)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def credentials(account: OntraportAccount, url: str) -> Mapping[str, Secret]:
    """Return the headers that authenticate ``account``, decrypted only when they are revealed."""
    if account.method == Method.API_KEY:
        return {"Api-Appid": _held(account, account.app_id), "Api-Key": _held(account, account.access_token)}
    if is_rest(url) and not is_mcp(url):
        raise rest_takes_keys()
    return {"Authorization": bearer(account)}


def bearer(account: OntraportAccount) -> Secret:
    """Return the one header that the MCP server takes: the access token, or a key pair joined by a colon."""
    secret = _held(account, account.access_token)
    if account.method == Method.OAUTH:
        return Secret(lambda: f"Bearer {secret.reveal()}")
    app_id = _held(account, account.app_id)
    return Secret(lambda: f"Bearer {app_id.reveal()}:{secret.reveal()}")


def _held(account: OntraportAccount, secret: Secret | None) -> Secret:
    if secret is None:
        error = ReconnectRequired("This Ontraport account holds no credentials.", code="no_credentials")
        error.account_uid = account.uid
        raise error
    return secret


def rest_takes_keys() -> OntraportRejected:
    return OntraportRejected(
        "Ontraport's REST API takes API keys only, and this account was linked with OAuth: use account.mcp(), or link it with an App ID"
        " and API key.",
        code="rest_takes_keys",
    )


def key_refused(account: OntraportAccount) -> ReconnectRequired:
    """Mark an account whose key pair Ontraport has just refused, unless it holds another by now, and return what to raise."""
    code = "key_refused"

    def mark() -> bool:
        rows = OntraportAccount.objects.using(alias())
        marked = rows.filter(pk=account.pk, version=account.version, status=Status.CONNECTED).update(
            status=Status.NEEDS_RECONNECT, last_error=code, refresh_at=None, version=F("version") + 1
        )
        if marked:
            OntraportEvent.record(account, EventKind.NEEDS_RECONNECT, code, using=alias())
        return bool(marked)

    try:
        if mark() if has_one_writer() else on_own_connection(mark):
            account.refresh_from_db(using=alias(), fields=["status", "last_error", "refresh_at", "version"])
            account_needs_reconnect.send_robust(sender=OntraportAccount, account=account)
    except DATABASE_IS_AWAY:
        logger.warning("Account %s could not be marked; the daily check of its keys will do so.", account.uid)
    error = ReconnectRequired("Ontraport no longer accepts this App ID and API key.", code=code)
    error.account_uid = account.uid
    return error


class AccountAuth(AuthBase):
    """A ``requests`` auth: takes its turn, attaches the account's credentials, refreshes ahead of expiry, refreshes and retries once
    on a 401, and follows no redirect.
    """

    def __init__(self, account: OntraportAccount) -> None:
        self.account = account

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        require_destination(request.url or "")
        prepare(self.account)
        position = _position(request.body)
        turn = budget.take(self.account, patience=budget.longest_wait())
        self._attach(request)
        request.hooks["response"].append(lambda response, **kwargs: self._look(response, turn, position, **kwargs))
        return request

    def _attach(self, request: requests.PreparedRequest) -> None:
        request.headers.update(
            {name: reveal(value) for name, value in credentials(self.account, request.url or "").items()}
        )

    def _look(self, response: requests.Response, turn: Turn, position: int | None, **kwargs: Any) -> requests.Response:
        note(self.account, turn, response.status_code, response.headers)
        _refuse_redirect(response)
        body: Any = response.request.body
        can_repeat = position is not None or isinstance(body, (str, bytes, type(None)))
        if response.status_code != 401 or self.account.method != Method.OAUTH or not can_repeat:
            return response
        response.close()
        renew(self.account)
        request = response.request.copy()
        request.hooks["response"] = []
        if position is not None:
            body.seek(position)
        turn = budget.take(self.account, patience=budget.longest_wait())
        self._attach(request)
        again: requests.Response = response.connection.send(request, **kwargs)
        note(self.account, turn, again.status_code, again.headers)
        _refuse_redirect(again)
        again.history.append(response)
        again.request = request
        return again


def _position(body: Any) -> int | None:
    """Return where a file begins that is to be sent, to send it again from there; ``None`` where that cannot be done."""
    try:
        position: int = body.tell()
    except (AttributeError, OSError):
        return None
    return position


def _refuse_redirect(response: requests.Response) -> None:
    if response.is_redirect:
        response.close()
        raise OntraportRejected("Ontraport answered with a redirect; credentials do not follow it.", code="redirect")


def note(account: OntraportAccount, turn: Turn, status: int, headers: Mapping[str, str]) -> None:
    """Note how a request went that took a turn."""
    budget.settle(turn)
    if status == 429:
        budget.hold(account, pause_of(headers))
