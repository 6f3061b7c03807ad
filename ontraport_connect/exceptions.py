"""Every error that reaches a caller, grouped by what the caller has to do.

OntraportError
├── ReconnectRequired          the customer has to connect again
├── OntraportUnavailable       try later, after ``retry_after`` seconds if known
├── OntraportMisconfigured     the operator has to correct the configuration
│   └── SecretUnreadable       ... the encryption keys, or the row was altered
├── OntraportRejected          this request is wrong; others may work
└── LinkingFailed              show ``message`` and the button again

No error carries a token, a code or a key, and no message contains anything that Ontraport sent. The one place for its words is
``OntraportRejected.said``.
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
    """Ontraport, the way to it, or our turn to call it is not there now. ``retry_after`` is in seconds, or ``None``.

    ``outcome_unknown`` is true after a write (a REST call other than GET, an MCP tool) that was sent and not answered: Ontraport may have
    carried it out. Look before you repeat it, for Ontraport has no idempotency keys.
    """

    default_code = "unavailable"
    outcome_unknown = False

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

    ``said`` is what Ontraport said of the reason: the text of a REST answer, of an MCP tool that failed, or of a JSON-RPC error. It has at
    most 200 characters, is meant for developers, may contain data of the customer's, and stands in no message.
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
