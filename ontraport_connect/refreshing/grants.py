"""What the columns of an account hold once it holds a grant."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F, Value

from ontraport_connect.conf import conf
from ontraport_connect.encryption import Seal, Sealed, newest_seal
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured
from ontraport_connect.models import Now, OntraportAccount, refresh_delay
from ontraport_connect.protocol import Grant
from ontraport_connect.values import UNSTORABLE, UNUSABLE

from . import client_settings

EARLIEST = 0.9
"""Due times are spread over the last tenth of the time to wait, so that links made together are not refreshed together."""


def from_now(seconds: float) -> Any:
    """Return the expression for a time from now by the clock of the database."""
    return Now() + Value(timedelta(seconds=seconds))


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """All that the save of a grant asks of the settings and of its row, as it was before the token or code was sent that the grant costs:
    what is read later may fail, or be something else by then, and the grant would be lost.

    ``margin`` is in seconds; ``asked`` is the scope that was asked for.
    """

    uid: UUID
    client_id: str
    issuer: str
    asked: str
    margin: float
    is_idle: bool
    has_refresh_token: bool
    seal: Seal

    @classmethod
    def read(cls, account: OntraportAccount, *, asked: str | None = None) -> Terms:
        """Read them for ``account``, which need not be saved. Raises ``OntraportMisconfigured``: then nothing is to be sent, and a setting,
        however wrong, ends no link.
        """
        try:
            return cls(
                uid=account.uid,
                client_id=_fit("client_id", account.client_id or conf.ONTRAPORT_CLIENT_ID or ""),
                issuer=_fit("issuer", account.issuer or client_settings.issuer()),
                asked=_shortened(account.scope if asked is None else asked),
                margin=conf.ONTRAPORT_REFRESH_MARGIN,
                is_idle=account.is_idle,
                has_refresh_token=account.refresh_token is not None,
                seal=newest_seal(),
            )
        except OntraportError:
            raise
        except Exception as error:  # noqa: BLE001  # settings may be objects of the site that compute something
            raise unusable(error) from None

    def of_row(self, account: OntraportAccount) -> Terms:
        """Return the same for the row that turns out to be the grant's."""
        return replace(self, uid=account.uid, has_refresh_token=account.refresh_token is not None)

    def columns(self, grant: Grant, since: Any = None) -> dict[str, Any]:
        """Return what a row holds once it holds this grant: tokens encrypted for it, times by the clock of the database.

        ``since`` is when the grant was asked for, by that clock (``None``: now); Ontraport may have counted its lifetime from then on. A
        grant without a refresh token keeps the old one.
        """
        tokens = {"access_token": grant.access_token}
        if grant.refresh_token is not None:
            tokens["refresh_token"] = grant.refresh_token
        sealed = {name: _field(name).seal_for(self.uid, secret, self.seal) for name, secret in tokens.items()}
        scope = granted_scope(self.asked, grant)
        return self.columns_of(sealed, grant.lifetime, scope, Now() if since is None else since)

    def columns_of(self, tokens: Mapping[str, Sealed], lifetime: float, scope: str, since: Any) -> dict[str, Any]:
        """Return the same for tokens that are encrypted already, valid for ``lifetime`` seconds from ``since`` on."""
        can_refresh = "refresh_token" in tokens or self.has_refresh_token
        delay = refresh_delay(lifetime, is_idle=self.is_idle, margin=self.margin) if can_refresh else lifetime
        delay *= random.uniform(EARLIEST, 1) if can_refresh else 1  # noqa: S311  # jitter
        return {
            **tokens,
            "client_id": self.client_id,
            "issuer": self.issuer,
            "scope": scope,
            "expires_at": since + timedelta(seconds=lifetime),
            "refresh_at": since + timedelta(seconds=delay),
            "refreshed_at": Now(),
            "version": F("version") + 1,
            "lease_until": None,
            "failures": 0,
            "last_error": "",
        }


def unusable(error: Exception) -> OntraportMisconfigured:
    """Return what to raise for something of the site that failed before anything was sent."""
    return OntraportMisconfigured(
        f"A setting cannot be used, so nothing was sent. `manage.py check` says more. {type(error).__name__}: {error}",
        code=UNUSABLE,
    )


def _fit(name: str, text: str) -> str:
    """Return a text that its column can hold. Raises ``OntraportMisconfigured``: Ontraport is not told of a shortened one."""
    longest = _field(name).max_length
    if len(text) > (longest or 0) or UNSTORABLE.search(text):
        setting = (
            "ONTRAPORT_CLIENT_ID" if name == "client_id" else "The issuer, or token endpoint, of ONTRAPORT_ENDPOINTS"
        )
        raise OntraportMisconfigured(
            f"{setting} has more than {longest} characters, or one that no database can hold. Nothing was sent.",
            code=UNUSABLE,
        )
    return text


def _shortened(scope: str) -> str:
    """Return as much of a scope as its column can hold."""
    longest, kept = _field("scope").max_length or 0, ""
    for name in scope.split():
        longer = f"{kept} {name}".lstrip()
        kept = kept if len(longer) > longest or UNSTORABLE.search(name) else longer
    return kept


def _field(name: str) -> Any:
    return OntraportAccount._meta.get_field(name)


def granted_scope(asked: str, grant: Grant) -> str:
    """Return the scope to record: narrower than asked is believed, wider is not (RFC 6749, 3.3)."""
    if grant.scope is None:
        return asked
    return " ".join(sorted(grant.scope & set(asked.split())))
