"""Every error that reaches a caller, grouped by what the caller has to do.

OntraportError
├── ReconnectRequired          the customer has to connect again
├── OntraportUnavailable       try later, after ``retry_after`` seconds if known
├── OntraportMisconfigured     the operator has to correct the configuration
│   └── SecretUnreadable       ... the encryption keys, or the row was altered
├── OntraportRejected          this request is wrong; others may work
└── LinkingFailed              show ``message`` and the button again

No error contains a token, a code, a key, or a body that Ontraport sent.
"""

from __future__ import annotations

from uuid import UUID


class OntraportError(Exception):
    """Base of all errors of this app.

    ``code`` is a short stable identifier such as ``timeout``; where they fit, it is an error code of RFC 6749, 5.2 (``invalid_grant``).
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code


class ReconnectRequired(OntraportError):
    """The grant has ended (revoked, expired, disconnected). Only the customer can renew it, by reconnecting.

    ``account_uid`` is the ``uid`` of the account that was used, if any.
    """

    default_code = "reconnect_required"
    account_uid: UUID | None = None


class OntraportUnavailable(OntraportError):
    """Ontraport cannot be called now: it, the network or the rate limiter says no. ``retry_after`` is in seconds, or ``None``."""

    default_code = "unavailable"

    def __init__(self, message: str, *, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class OntraportMisconfigured(OntraportError):
    """A setting is missing or wrong, or Ontraport does not accept this site as a client. The operator has to act."""

    default_code = "misconfigured"


class SecretUnreadable(OntraportMisconfigured):
    """A stored secret cannot be decrypted: its key is not configured, or the row was altered."""

    default_code = "secret_unreadable"


class OntraportRejected(OntraportError):
    """Ontraport, or this app on its behalf, refuses this request. ``status`` is the HTTP status, if there was a response.

    ``said`` holds the first 200 characters of an MCP tool's error text; the message does not contain them.
    """

    default_code = "rejected"
    said = ""

    def __init__(self, message: str, *, code: str = "", status: int | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status


class LinkingFailed(OntraportError):
    """An attempt to link an account failed. ``message`` may be shown to the customer."""

    default_code = "failed"

    @property
    def message(self) -> str:
        return str(self.args[0])
