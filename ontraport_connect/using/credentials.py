"""The credentials of an account: refreshed before use, and sent to the configured hosts only."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from copy import copy
from urllib.parse import urlsplit

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Q

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
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import Method, Now, OntraportAccount, Status, is_active
from ontraport_connect.protocol import require_secure

from .last_use import note_use

logger = logging.getLogger("ontraport_connect")

KEY_REFUSED = "key_refused"
SUSPECT_AGAIN_AFTER = 120.0
"""Seconds for which a 401 leads to no new check of a key pair that REST has accepted."""


def prepare(account: OntraportAccount) -> None:
    """Make sure that ``account`` has credentials that are valid now, and note that it is used.

    Raises as ``refreshing.ensure_fresh`` does, and ``OntraportRejected`` when the owner of the account is not active.
    ``OntraportMisconfigured`` also says that the database is a copy of another installation's.
    """
    with unavailable_while_away():
        refreshing.require_own_database()
        is_allowed = bool(account.tenant) or _has_active_owner(account)
    if not is_allowed:
        raise OntraportRejected("The owner of this Ontraport account is not active.", code="inactive_user")
    note_use(account)
    if not refreshing.is_fresh(account):
        _update(account, copy(account), refreshing.ensure_fresh)


def _has_active_owner(account: OntraportAccount) -> bool:
    try:
        return is_active(account.user)
    except ObjectDoesNotExist:  # deleted since the account was read
        return False


def snapshot(account: OntraportAccount) -> OntraportAccount:
    """Return a copy of ``account`` to read: credentials that stay as they are while another thread or coroutine refreshes ``account``."""
    # ``copy`` pickles and reads a model, which takes ten times as long.
    seen = OntraportAccount.__new__(OntraportAccount)
    vars(seen).update(vars(account))
    return seen


def renew(account: OntraportAccount, *, sent: OntraportAccount) -> None:
    """Get a new access token after Ontraport answered 401 to the one in ``sent``, a snapshot of ``account``.

    Several calls with one account object may get a 401 for the same token. The first of them refreshes it, and the others take what came.
    Raises as ``refreshing.refresh`` does.
    """
    if account.version == sent.version:
        _update(account, sent, refreshing.replace_refused)


def _update(account: OntraportAccount, seen: OntraportAccount, step: Callable[[OntraportAccount], None]) -> None:
    """Run ``step`` on a copy of ``seen``, and let ``account`` take over what it found, unless ``account`` is newer by now.

    ``step`` refreshes only while the row has the version of its argument. It must not see that version change under its hands, which
    other threads do to ``account``. A ``ReconnectRequired`` is given the account's ``uid``.
    """
    current = copy(seen)
    try:
        step(current)
    except ReconnectRequired as error:
        error.account_uid = account.uid
        raise
    finally:
        if current.was_read_again(seen):
            with _adopting:
                if current.version >= account.version:
                    account.adopt(current.as_read())


_adopting = threading.Lock()


def require_destination(url: str) -> None:
    """Raise ``OntraportRejected`` unless ``url`` belongs to the configured REST or MCP address."""
    if "\\" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise OntraportRejected("No credentials are sent to an address with such characters.", code="destination")
    require_secure(url)
    origin = _origin(url)
    if origin != _origin(conf.ONTRAPORT_REST_URL) and origin != _origin(conf.ONTRAPORT_MCP_URL):
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
    """Return the headers that authenticate ``account`` at ``url``. Secrets are decrypted when they are revealed."""
    if account.method == Method.API_KEY:
        return key_pair(account)
    if is_rest(url) and not is_mcp(url):
        raise rest_takes_keys()
    return {"Authorization": bearer(account)}


def key_pair(account: OntraportAccount) -> Mapping[str, Secret]:
    """Return the two headers of a key pair."""
    return {"Api-Appid": _required(account, account.app_id), "Api-Key": _required(account, account.access_token)}


def bearer(account: OntraportAccount) -> Secret:
    """Return the ``Authorization`` header for the MCP server: the access token, or the App ID and API key joined by a colon."""
    secret = _required(account, account.access_token)
    if account.method == Method.OAUTH:
        return Secret(lambda: f"Bearer {secret.reveal()}")
    app_id = _required(account, account.app_id)
    return Secret(lambda: f"Bearer {app_id.reveal()}:{secret.reveal()}")


def _required(account: OntraportAccount, secret: Secret | None) -> Secret:
    """Return the secret. Raises ``ReconnectRequired`` when the account has none."""
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


def key_refused(account: OntraportAccount) -> OntraportUnavailable:
    """Make a check of the key pair of ``account`` due, since Ontraport answered 401, and return the error to raise.

    The account stays connected: one 401 proves nothing. ``linking.check_key_pairs`` finds out whether REST refuses the pair again and
    again. A pair that it has just accepted is not checked anew, because another server of Ontraport may refuse what REST accepts.
    """

    def suspect() -> bool:
        rows = OntraportAccount.objects.using(alias()).filter(
            Q(refreshed_at=None) | Q(refreshed_at__lt=refreshing.from_now(-SUSPECT_AGAIN_AFTER)),
            pk=account.pk,
            version=account.version,
            status=Status.CONNECTED,
        )
        return bool(rows.exclude(last_error=KEY_REFUSED).update(last_error=KEY_REFUSED, refresh_at=Now()))

    try:
        if suspect() if has_one_writer() else on_own_connection(suspect):
            account.refresh_from_db(using=alias(), fields=["last_error", "refresh_at"])
    except DATABASE_IS_AWAY:
        logger.warning("No check of the key of account %s could be made due; it is checked daily.", account.uid)
    return OntraportUnavailable(
        "Ontraport refused this App ID and API key; they are being checked.", code=KEY_REFUSED, retry_after=60.0
    )
