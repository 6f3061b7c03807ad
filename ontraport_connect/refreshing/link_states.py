"""The state of a link as people see it: one of four, computed here and nowhere else.

Where the whole site is paused, its links are: what a link's own row says is then not what its owner could act on.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, TextChoices
from django.utils.translation import gettext_lazy as _

from ontraport_connect.exceptions import SecretUnreadable
from ontraport_connect.models import Method, OntraportAccount, Status

from . import circuit_breaker, installation


class LinkState(TextChoices):
    """``HAVING_TROUBLE``: refreshing fails and is tried again. ``PAUSED``: the site's operator has to act, not the owner."""

    CONNECTED = "connected", _("connected")
    HAVING_TROUBLE = "having_trouble", _("having trouble")
    PAUSED = "paused", _("paused on our side")
    NEEDS_RECONNECT = "needs_reconnect", _("reconnect needed")


@dataclass(frozen=True, slots=True)
class SitePause:
    """Why the links of the whole site are paused: the code of ``circuit_breaker`` or ``installation``; empty where they are not."""

    code: str = ""

    @property
    def _covers_keys(self) -> bool:
        """Whether links with an API key are paused, too: they do without this site's client, but not without its database."""
        return self.code == installation.COPIED

    @property
    def _covers_ended(self) -> bool:
        """Whether ended links are paused, too: a refused client cannot be linked anew, but a grant that ended can."""
        return self.code != circuit_breaker.MANY_ENDED

    def covers(self, account: OntraportAccount) -> bool:
        if not self.code:
            return False
        is_reached = account.method == Method.OAUTH or self._covers_keys
        return is_reached and (account.is_connected or self._covers_ended)

    def condition(self) -> Q:
        """Return the condition on accounts that ``covers`` is true for."""
        if not self.code:
            return NOTHING
        reached = Q() if self._covers_keys else Q(method=Method.OAUTH)
        return reached & (ANYTHING if self._covers_ended else Q(status=Status.CONNECTED))


ANYTHING = Q(pk__isnull=False)
NOTHING = Q(pk__in=[])
OUR_SIDE = frozenset({SecretUnreadable.default_code, *circuit_breaker.ACCOUNTS_OWN})
"""Codes in ``last_error`` of what only the site's operator can mend."""


def site_pause() -> SitePause:
    """Return what pauses every link of the site now. Queries the database; ask once for many accounts."""
    return SitePause(circuit_breaker.refusal_code())


def link_state(account: OntraportAccount, pause: SitePause | None = None) -> LinkState:
    """Return the state of a link. ``pause`` is what ``site_pause()`` returned; without it the database is asked."""
    if (site_pause() if pause is None else pause).covers(account):
        return LinkState.PAUSED
    if not account.is_connected:
        return LinkState.NEEDS_RECONNECT
    if account.last_error in OUR_SIDE:
        return LinkState.PAUSED
    return LinkState.HAVING_TROUBLE if account.failures else LinkState.CONNECTED


def link_conditions(pause: SitePause) -> dict[LinkState, Q]:
    """Return for each state the condition on the accounts that are in it: ``link_state`` as a query."""
    covered, connected, ours = pause.condition(), Q(status=Status.CONNECTED), Q(last_error__in=OUR_SIDE)
    theirs = ~covered & connected & ~ours
    return {
        LinkState.CONNECTED: theirs & Q(failures=0),
        LinkState.HAVING_TROUBLE: theirs & Q(failures__gt=0),
        LinkState.PAUSED: covered | (connected & ours),
        LinkState.NEEDS_RECONNECT: ~covered & ~connected,
    }
