"""The data of the admin's dashboard, "Ontraport overview"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, Min
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import (
    EventKind,
    OntraportAccount,
    OntraportEvent,
    OntraportRevocation,
    as_stored,
    with_users,
)
from ontraport_connect.protocol import OPERATOR_ERRORS
from ontraport_connect.refreshing import Pulse, Signs

from . import notices, tallies
from .admin_filters import STATE, account_conditions, state_titles

MAX_FAILURES = 10
FAILURES = (EventKind.REFRESH_FAILING, EventKind.NEEDS_RECONNECT, EventKind.MISCONFIGURED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A number on the dashboard, and the query of the list that has so many accounts. ``code`` is used by the style sheet."""

    code: str
    count: int
    title: str | Promise
    query: str

    @property
    def text(self) -> str:
        """The number with the separators of the language."""
        return number_format(self.count, force_grouping=True)


def tiles() -> Sequence[Tile]:
    """Return how many accounts there are, and how many in each state, each with its list."""
    titles = {code: title for code, title in state_titles() if code not in {"expiring", "inactive"}}
    conditions = account_conditions()
    numbers: dict[str, Any] = {code: Count("pk", filter=conditions[code]) for code in titles}
    found = OntraportAccount.objects.using(alias()).aggregate(**numbers, all=Count("pk"))
    all_links = Tile(code="all", count=found["all"], title=_("connections"), query="")
    return [
        all_links,
        *(Tile(code=code, count=found[code], title=titles[code], query=f"?{STATE}={code}") for code in titles),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """The background refreshes of one hour, as a bar of the chart, failures on top. Positions and sizes are in the chart's units."""

    starts_at: datetime
    refreshed: int
    failed: int
    x: int
    height: int
    failed_height: int
    is_labelled: bool

    @property
    def count(self) -> int:
        return self.refreshed + self.failed

    @property
    def y(self) -> int:
        return Chart.bottom - self.height

    @property
    def failed_y(self) -> int:
        return self.y - self.failed_height

    @property
    def middle(self) -> int:
        return self.x + Chart.bar // 2

    @property
    def above(self) -> int:
        return self.failed_y - 4


class Chart:
    """Dimensions of the chart, in units of its SVG view box."""

    step = 30
    bar = 24
    height = 136
    bottom = 160
    width = tallies.HOURS * step


def refresh_chart() -> Sequence[Bar]:
    """Return one bar for each of the last 24 hours, the current one last; no bars when nothing was refreshed in them."""
    hours = tallies.last_hours()
    most = max((tally.refreshed + tally.failed for tally in hours), default=0)
    return [_bar(index, tally, most) for index, tally in enumerate(hours)]


def _bar(index: int, tally: tallies.Tally, most: int) -> Bar:
    return Bar(
        starts_at=as_stored(datetime.fromtimestamp(tally.starts_at, UTC)),
        refreshed=tally.refreshed,
        failed=tally.failed,
        x=index * Chart.step + (Chart.step - Chart.bar) // 2,
        height=_height(tally.refreshed, most),
        failed_height=_height(tally.failed, most),
        is_labelled=index % 4 == 0,
    )


def _height(count: int, most: int) -> int:
    return max(3, round(count / most * Chart.height)) if count else 0


def recent_failures() -> Sequence[OntraportEvent]:
    """Return the latest failures, newest first."""
    events = OntraportEvent._default_manager.using(alias()).filter(kind__in=FAILURES)
    return list(with_users(events, "account")[:MAX_FAILURES])


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """The state of the background jobs. ``since`` is when the oldest pending revocation was queued."""

    signs: Signs
    hold_code: str
    held_until: datetime | None
    revocations: int
    since: datetime | None
    is_storm: bool

    @property
    def pulses(self) -> Mapping[str, Pulse]:
        return {"beat": self.signs.beat, "worker": self.signs.worker}

    @property
    def minutes_late(self) -> int:
        """By how many minutes the workers run their tasks late; 0 where that is not worth a word."""
        return int(self.signs.task_delay // 60) if self.signs.is_late and self.signs.task_delay else 0

    @property
    def is_rejected(self) -> bool:
        """Whether refreshing is paused since Ontraport rejects this site's credentials."""
        return self.hold_code in OPERATOR_ERRORS


def site_health() -> Health:
    row = refreshing.site_standing()
    held = bool(row.hold_code) and (
        row.hold_code != refreshing.RATE_LIMITED or (row.held_until is not None and row.held_until > timezone.now())
    )
    hold_code = row.hold_code if held else ""
    waiting = OntraportRevocation.objects.using(alias()).aggregate(count=Count("pk"), since=Min("created_at"))
    return Health(
        signs=refreshing.signs(),
        hold_code=hold_code if refreshing.is_own_database() else refreshing.COPIED,
        held_until=row.held_until if held else None,
        revocations=waiting["count"],
        since=waiting["since"],
        is_storm=conf.ONTRAPORT_NOTIFY and notices.is_storm(),
    )
