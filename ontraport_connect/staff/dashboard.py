"""The data of the admin's dashboard, "Ontraport links at a glance"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Count, Min
from django.db.models.functions import TruncHour
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, OntraportRevocation, Status
from ontraport_connect.refreshing import Pulse

from . import notices
from .admin_filters import account_conditions

HOURS = 24
MAX_FAILURES = 10
FAILURES = (EventKind.REFRESH_FAILING, EventKind.NEEDS_RECONNECT, EventKind.MISCONFIGURED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """The tokens that expire within one hour, as a bar of the chart. Positions and sizes are in the chart's units."""

    starts_at: datetime
    count: int
    x: int
    y: int
    height: int
    is_labelled: bool

    @property
    def middle(self) -> int:
        return self.x + Chart.bar // 2

    @property
    def above(self) -> int:
        return self.y - 4


class Chart:
    """Dimensions of the chart, in units of its SVG view box."""

    step = 30
    bar = 24
    height = 140
    bottom = 160
    width = HOURS * step


def link_counts() -> Mapping[str, int]:
    """Return the number of accounts in each condition, and of all as ``all``."""
    numbers = {name: Count("pk", filter=condition) for name, condition in account_conditions().items()}
    found: dict[str, int] = OntraportAccount.objects.using(alias()).aggregate(**numbers, all=Count("pk"))
    return found


def expiring_tokens() -> Sequence[Bar]:
    """Return one bar for each of the next 24 hours, beginning with the current one; no bars when no token expires in them."""
    first = timezone.now().replace(minute=0, second=0, microsecond=0)
    rows = (
        OntraportAccount.objects.using(alias())
        .filter(status=Status.CONNECTED, method=Method.OAUTH)
        .filter(expires_at__gte=timezone.now(), expires_at__lt=first + timedelta(hours=HOURS))
        .order_by()
        .values(hour=TruncHour("expires_at", tzinfo=UTC))
        .annotate(count=Count("pk"))
    )
    found = {row["hour"]: row["count"] for row in rows}
    if not found:
        return []
    starts = [first + timedelta(hours=hour) for hour in range(HOURS)]
    most = max(found.values())
    return [_bar(index, start, found.get(start, 0), most) for index, start in enumerate(starts)]


def _bar(index: int, start: datetime, count: int, most: int) -> Bar:
    height = max(3, round(count / most * Chart.height)) if count else 0
    return Bar(
        starts_at=start,
        count=count,
        x=index * Chart.step + (Chart.step - Chart.bar) // 2,
        y=Chart.bottom - height,
        height=height,
        is_labelled=index % 4 == 0,
    )


def recent_failures() -> Sequence[OntraportEvent]:
    """Return the latest failures, newest first."""
    events = OntraportEvent._default_manager.using(alias()).select_related("account", "user")
    return list(events.filter(kind__in=FAILURES)[:MAX_FAILURES])


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """The state of the background jobs. ``since`` is when the oldest pending revocation was queued."""

    pulses: Mapping[str, Pulse]
    hold_code: str
    held_until: datetime | None
    revocations: int
    since: datetime | None
    is_storm: bool


def site_health() -> Health:
    row = refreshing.site_standing()
    held = bool(row.hold_code) and (
        row.hold_code != refreshing.RATE_LIMITED or (row.held_until is not None and row.held_until > timezone.now())
    )
    hold_code = row.hold_code if held else ""
    waiting = OntraportRevocation.objects.using(alias()).aggregate(count=Count("pk"), since=Min("created_at"))
    return Health(
        pulses=refreshing.pulses(),
        hold_code=hold_code if refreshing.is_own_database() else refreshing.COPIED,
        held_until=row.held_until if held else None,
        revocations=waiting["count"],
        since=waiting["since"],
        is_storm=conf.ONTRAPORT_NOTIFY and notices.is_storm(),
    )
