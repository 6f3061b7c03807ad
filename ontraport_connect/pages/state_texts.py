"""The state and history of a link, in words for its owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A state as it is shown.

    ``name`` is used by style sheets: ``well``, ``waiting`` (the owner need not act) or ``ended`` (only the owner can repair it).
    """

    name: str
    title: Promise
    text: str | Promise = ""


WELL = State(name="well", title=_("Connected"))
WAITING = State(
    name="waiting",
    title=_("Connected, renewal delayed"),
    text=_(
        "Ontraport did not renew the access when it was last asked. We keep asking by ourselves; there is nothing you need to do."
    ),
)
UNREADABLE = State(
    name="waiting",
    title=_("Connected, renewal delayed"),
    text=_("This site cannot read what it has stored for this connection. We need to fix that, not you."),
)
ENDED = State(
    name="ended",
    title=_("Needs you to reconnect"),
    text=_(
        "Ontraport no longer accepts this connection; perhaps the access was taken back there. Reconnect, and everything goes on where"
        " it stopped."
    ),
)
KEY_REFUSED = State(
    name="ended",
    title=_("Needs a new key"),
    text=_(
        "Ontraport no longer accepts this App ID and API key; perhaps the key was deleted there. Enter a key that works, and everything"
        " goes on where it stopped."
    ),
)

HISTORY: Mapping[str, Promise] = {
    EventKind.LINKED: _("Connected"),
    EventKind.REFRESH_FAILING: _("Renewal failed; we kept trying"),
    EventKind.RECOVERED: _("Renewed again"),
    EventKind.NEEDS_RECONNECT: _("Access ended"),
    EventKind.RECONNECTED: _("Connected again"),
    EventKind.DISCONNECTED: _("Disconnected"),
}

AWAY = _("Ontraport did not answer")
REASONS: Mapping[str, Promise] = {
    "invalid_grant": _("Ontraport no longer accepts the permission"),
    "key_refused": _("Ontraport no longer accepts the key"),
    "no_refresh_token": _("Ontraport gave no means to renew it"),
    "secret_unreadable": _("this site could not read what it had stored"),
    "timeout": AWAY,
    "connection": AWAY,
    "tls": _("Ontraport's server could not be trusted"),
    "cut": _("the connection was lost"),
    "nonsense": _("Ontraport's answer could not be understood"),
    "too_large": _("Ontraport's answer could not be understood"),
}


def state_of(account: OntraportAccount) -> State:
    """Return the state of this link."""
    if account.status == Status.NEEDS_RECONNECT:
        return KEY_REFUSED if account.last_error == "key_refused" else ENDED
    if account.last_error == "secret_unreadable":
        return UNREADABLE
    return WAITING if account.failures else WELL


def happened(event: OntraportEvent) -> str | Promise:
    """Return the words for an event in a link's history."""
    return HISTORY.get(event.kind, event.get_kind_display())


def reason_for(code: str) -> str | Promise:
    """Return the words for an error code, or an empty string if the code would mean nothing to a customer."""
    return AWAY if code.startswith("http_5") else REASONS.get(code, "")
