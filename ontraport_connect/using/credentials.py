"""Use an account: its credentials, made fresh first, sent to the configured hosts only, and a ``requests`` auth."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.db.models import F

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import (
    DATABASE_IS_AWAY,
    alias,
    has_one_writer,
    on_own_connection,
    unavailable_while_away,
)
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportRejected, ReconnectRequired
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.protocol import require_secure
from ontraport_connect.signals import account_needs_reconnect

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
    _named(account, refreshing.replace_refused)


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
