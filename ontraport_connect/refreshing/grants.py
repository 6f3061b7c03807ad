"""What the columns of an account hold once it holds a grant."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from django.db.models import F, Value
from django.utils import timezone

from ontraport_connect.conf import UNUSABLE, conf
from ontraport_connect.encryption import EncryptedTextField, Sealed, current_key_id
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured
from ontraport_connect.models import Now, OntraportAccount, refresh_delay
from ontraport_connect.protocol import ASSUMED_LIFETIME, Grant

from . import client_settings

EARLIEST = 0.9
"""Due times are spread over the last tenth of the time to wait, so that links made together are not refreshed together."""

SETTINGS = {"client_id": "ONTRAPORT_CLIENT_ID", "issuer": "The issuer, or the token endpoint, of ONTRAPORT_ENDPOINTS"}
"""The columns of a grant that are filled from settings."""

UNSTORABLE = re.compile("[\\0\\ud800-\\udfff]")
"""What no text may hold that is stored: PostgreSQL has no NUL, and UTF-8 no half of a surrogate pair. ``os.environ`` has those where the
environment is not UTF-8.
"""


def from_now(seconds: float) -> Any:
    """Return the expression for a time from now by the clock of the database."""
    return Now() + Value(timedelta(seconds=seconds))


def grant_columns(account: OntraportAccount, grant: Grant, *, asked: str, since: Any = None) -> dict[str, Any]:
    """Return what a row holds once it holds this grant: tokens encrypted for it, times by the clock of the database.

    ``since`` is when the grant was asked for, by that clock (``None``: now); Ontraport may have counted its lifetime from then on.
    """
    return token_columns(
        account,
        sealed_tokens(account, grant),
        grant.lifetime,
        granted_scope(asked, grant),
        Now() if since is None else since,
    )


def token_columns(
    account: OntraportAccount, tokens: Mapping[str, Sealed], lifetime: float, scope: str, since: Any
) -> dict[str, Any]:
    """Return the same for tokens that are encrypted already, valid for ``lifetime`` seconds from ``since`` on."""
    can_refresh = "refresh_token" in tokens or account.refresh_token is not None
    delay = refresh_delay(lifetime, is_idle=account.is_idle) if can_refresh else lifetime
    delay *= random.uniform(EARLIEST, 1) if can_refresh else 1  # noqa: S311  # jitter
    return {
        **tokens,
        "client_id": account.client_id or conf.ONTRAPORT_CLIENT_ID or "",
        "issuer": account.issuer or client_settings.issuer(),
        "scope": scope,
        "expires_at": since + timedelta(seconds=lifetime),
        "refresh_at": since + timedelta(seconds=delay),
        "refreshed_at": Now(),
        "version": F("version") + 1,
        "lease_until": None,
        "failures": 0,
        "last_error": "",
    }


def require_storable(account: OntraportAccount) -> None:
    """Find out whether a grant could be stored for ``account``, before the token or code is sent that it costs. Raises
    ``OntraportMisconfigured``: a setting, however wrong, ends no link.
    """
    current_key_id()
    try:
        columns = token_columns(account, {"refresh_token": Sealed()}, ASSUMED_LIFETIME, "", timezone.now())
        for name, setting in SETTINGS.items():
            field: Any = OntraportAccount._meta.get_field(name)
            _require_fit(setting, field.get_prep_value(columns[name]), field.max_length)
    except (OntraportError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # such as a number that no time can hold
        raise unusable(error) from None


def unusable(error: Exception) -> OntraportMisconfigured:
    """Return what to raise for a setting that failed, in a way that nobody thought of, before anything was sent."""
    return OntraportMisconfigured(
        f"A grant could not be stored, so nothing was sent. Is a setting out of range? {type(error).__name__}: {error}",
        code=UNUSABLE,
    )


def _require_fit(setting: str, text: str, longest: int) -> None:
    """Raise ``OntraportMisconfigured`` for a text that its column cannot hold. Ontraport is not told of a shortened one."""
    if len(text) > longest or UNSTORABLE.search(text):
        raise OntraportMisconfigured(
            f"{setting} has more than {longest} characters, or one that no database can hold, so nothing was sent.",
            code=UNUSABLE,
        )


def sealed_tokens(account: OntraportAccount, grant: Grant) -> dict[str, Sealed]:
    """Return the tokens of a grant, encrypted for the row of ``account``. A grant without a refresh token keeps the old one."""
    tokens = {"access_token": grant.access_token}
    if grant.refresh_token is not None:
        tokens["refresh_token"] = grant.refresh_token
    return {name: _field(name).seal_for(account.uid, secret) for name, secret in tokens.items()}


def _field(name: str) -> EncryptedTextField:
    return cast("EncryptedTextField", OntraportAccount._meta.get_field(name))


def granted_scope(asked: str, grant: Grant) -> str:
    """Return the scope to record: narrower than asked is believed, wider is not (RFC 6749, 3.3). One that has nothing of what was asked
    says nothing.
    """
    if grant.scope is None:
        return asked
    return " ".join(sorted(grant.scope & set(asked.split()))) or asked
