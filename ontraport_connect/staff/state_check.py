"""Count the links of the site by their state."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import LinkState

from .findings import Finding, Level, finding

WORDS = {
    LinkState.CONNECTED: "connected",
    LinkState.HAVING_TROUBLE: "having trouble",
    LinkState.PAUSED: "paused on our side",
    LinkState.NEEDS_RECONNECT: "reconnect needed",
}


def check_states() -> Iterator[Finding]:
    """Count the accounts in each state. Only those that are paused are the operator's to mend."""
    conditions = refreshing.link_conditions(refreshing.site_pause())
    numbers = {state.value: Count("pk", filter=condition) for state, condition in conditions.items()}
    found = OntraportAccount.objects.using(alias()).aggregate(**numbers)
    text = ", ".join(f"{found[state]} {WORDS[state]}" for state in LinkState if found[state])
    paused = found[LinkState.PAUSED]
    hint = "Fix what is reported above; where a stored secret cannot be read, put its key back." if paused else ""
    yield finding("accounts", Level.WARNING if paused else Level.OK, text or "none yet", hint)
