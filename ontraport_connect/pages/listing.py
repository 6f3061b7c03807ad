"""The page with an owner's accounts: what needs somebody first, searchable, and compact when there are many."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportAccount, OntraportEvent, with_users
from ontraport_connect.refreshing import LinkState

from . import addresses, tenancy, tool_descriptions
from .forms import RenameForm
from .state_texts import State, state_of

LONGEST_HISTORY = 10
"""Number of events shown per account."""

COMPACT_FROM = 6
"""So many accounts are rows that open, with a field to search them; fewer are cards."""

TROUBLE_FIRST = (LinkState.NEEDS_RECONNECT, LinkState.PAUSED, LinkState.HAVING_TROUBLE, LinkState.CONNECTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One account on the page. ``form`` is the rename form when what was typed cannot be used."""

    account: OntraportAccount
    state: State
    is_open: bool
    form: RenameForm | None

    @property
    def has_numbered_name(self) -> bool:
        """Whether the name is the account's number, so that it need not be said again."""
        return not self.account.label


def show(
    request: HttpRequest, *, renamed: OntraportAccount | None = None, form: RenameForm | None = None
) -> HttpResponse:
    """Render the page. ``renamed`` is the account whose rename ``form`` has errors, which are shown where it was filled in (status 422)."""
    events = OntraportEvent.objects.using(alias()).order_by("-at", "-pk")[:LONGEST_HISTORY]
    history = Prefetch("events", events, to_attr="history")
    rows = list(with_users(OntraportAccount.objects.for_request(request)).prefetch_related(history))
    pause = refreshing.site_pause()
    states = {row.pk: state_of(row, pause) for row in rows}
    rows.sort(key=lambda row: TROUBLE_FIRST.index(states[row.pk].code))
    searched = " ".join(request.GET.get("q", "").split())
    is_compact = len(rows) >= COMPACT_FROM
    opened = addresses.uuid_or_none(request.GET.get("show", "")) if renamed is None else renamed.uid
    context = {
        "cards": [
            Card(
                account=row,
                state=states[row.pk],
                is_open=not is_compact or row.uid == opened or states[row.pk].name == "ended",
                form=form if renamed is not None and row.pk == renamed.pk else None,
            )
            for row in rows
            if _matches(row, searched)
        ],
        "total": len(rows),
        "needing": sum(state.code == LinkState.NEEDS_RECONNECT for state in states.values()),
        "is_compact": is_compact,
        "searched": searched,
        "is_refused": bool(pause.code),
        "is_shared": tenancy.mark_of(request) != "",
        "uses": tool_descriptions.uses(),
        "can_revoke": refreshing.can_revoke(),
        "may": tenancy.permissions(request),
        "made_for": tenancy.mark_of(request),
    }
    return render(request, "ontraport_connect/accounts.html", context, status=422 if form else 200)


def _matches(account: OntraportAccount, searched: str) -> bool:
    text = f"{account} {account.ontraport_id}".casefold()
    return all(word in text or word == str(account.uid) for word in searched.casefold().split())
