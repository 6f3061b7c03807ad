"""The state and history of a link, in words for its owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent
from ontraport_connect.refreshing import LinkState, SitePause, link_state


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A state as it is shown.

    ``code`` is the state. ``name`` is used by style sheets: ``well``, ``waiting`` (the owner need not act) or ``ended`` (only the owner can
    repair it).
    """

    code: LinkState
    name: str
    title: Promise
    text: str | Promise = ""


WELL = State(code=LinkState.CONNECTED, name="well", title=_("Connected"))
WAITING = State(
    code=LinkState.HAVING_TROUBLE,
    name="waiting",
    title=_("Having trouble"),
    text=_(
        "We couldn't renew this connection just now. It still works, and we'll keep trying. You don't need to do anything."
    ),
)
AWAY_FOR_NOW = State(
    code=LinkState.HAVING_TROUBLE,
    name="waiting",
    title=_("Having trouble"),
    text=_(
        "We can't use this connection right now, because renewing it keeps failing. We'll keep trying. You don't need to do anything."
    ),
)
KEY_WAITING = State(
    code=LinkState.HAVING_TROUBLE,
    name="waiting",
    title=_("Having trouble"),
    text=_("Our last check of this key didn't succeed. We'll check again shortly. You don't need to do anything."),
)
PAUSED = State(
    code=LinkState.PAUSED,
    name="waiting",
    title=_("Paused on our side"),
    text=_(
        "Something on our side isn't working, so we can't use this connection right now. You don't need to do anything."
    ),
)
ENDED = State(
    code=LinkState.NEEDS_RECONNECT,
    name="ended",
    title=_("Reconnect needed"),
    text=_(
        "Ontraport has stopped accepting this connection. Access may have been removed in Ontraport. Reconnect to pick up where you"
        " left off."
    ),
)
KEY_REFUSED = State(
    code=LinkState.NEEDS_RECONNECT,
    name="ended",
    title=_("New key needed"),
    text=_(
        "Ontraport has stopped accepting this App ID and API key. The key may have been deleted in Ontraport. Enter a new one to pick up"
        " where you left off."
    ),
)

HISTORY: Mapping[str, Promise] = {
    EventKind.LINKED: _("Connected"),
    EventKind.REFRESH_FAILING: _("Renewal failed, retrying"),
    EventKind.RECOVERED: _("Renewed again"),
    EventKind.NEEDS_RECONNECT: _("Access lost"),
    EventKind.RECONNECTED: _("Reconnected"),
    EventKind.DISCONNECTED: _("Disconnected"),
}

AWAY = _("couldn't reach Ontraport")
BROKEN = _("Ontraport had a problem")
REASONS: Mapping[str, Promise] = {
    "invalid_grant": _("Ontraport no longer accepts our access"),
    "key_refused": _("Ontraport no longer accepts the key"),
    "no_refresh_token": _("Ontraport gave us no way to renew the access"),
    "secret_unreadable": _("we couldn't read the stored credentials"),
    "timeout": AWAY,
    "connection": AWAY,
    "tls": _("couldn't connect to Ontraport securely"),
    "cut": _("the connection was interrupted"),
    "nonsense": _("Ontraport sent an answer we couldn't read"),
    "too_large": _("Ontraport sent an answer we couldn't read"),
}


def state_of(account: OntraportAccount, pause: SitePause | None = None) -> State:
    """Return the state of this link. ``pause`` is what ``refreshing.site_pause()`` returned; without it the database is asked."""
    state = link_state(account, pause)
    if state == LinkState.CONNECTED:
        return WELL
    if state == LinkState.PAUSED:
        return PAUSED
    if account.method == "api_key":
        return KEY_REFUSED if state == LinkState.NEEDS_RECONNECT else KEY_WAITING
    if state == LinkState.NEEDS_RECONNECT:
        return ENDED
    return WAITING if account.is_valid_for(0) else AWAY_FOR_NOW


def happened(event: OntraportEvent) -> str | Promise:
    """Return the words for an event in a link's history."""
    return HISTORY.get(event.kind, event.get_kind_display())


def reason_for(code: str) -> str | Promise:
    """Return the words for an error code, or an empty string if the code would mean nothing to a customer."""
    return BROKEN if code.startswith("http_5") else REASONS.get(code, "")
