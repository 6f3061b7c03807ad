"""The numbers of the page "Ontraport links at a glance"."""

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
from .admin_filters import conditions

HOURS = 24
MOST_FAILURES = 10
FAILURES = (EventKind.REFRESH_FAILING, EventKind.NEEDS_RECONNECT, EventKind.MISCONFIGURED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """The tokens that end in one hour of the day, as a bar of a picture: places and sizes are in its units."""

    starts_at: datetime
    count: int
    x: int
    y: int
    height: int
    is_labelled: bool

    @property
    def middle(self) -> int:
        return self.x + Picture.bar // 2

    @property
    def above(self) -> int:
        return self.y - 4


class Picture:
    """Sizes of the picture, in its own units."""

    step = 30
    bar = 24
    height = 140
    bottom = 160
    width = HOURS * step


def link_counts() -> Mapping[str, int]:
    """Return how many links are in each condition, and how many there are."""
    numbers = {name: Count("pk", filter=condition) for name, condition in conditions().items()}
    found: dict[str, int] = OntraportAccount.objects.using(alias()).aggregate(**numbers, all=Count("pk"))
    return found


def expiring_tokens() -> Sequence[Bar]:
    """Return a bar for each of the next 24 hours, the one under way first; none at all where no token ends in them."""
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
    height = max(3, round(count / most * Picture.height)) if count else 0
    return Bar(
        starts_at=start,
        count=count,
        x=index * Picture.step + (Picture.step - Picture.bar) // 2,
        y=Picture.bottom - height,
        height=height,
        is_labelled=index % 4 == 0,
    )


def recent_failures() -> Sequence[OntraportEvent]:
    """Return the last things that went wrong."""
    events = OntraportEvent._default_manager.using(alias()).select_related("account", "user")
    return list(events.filter(kind__in=FAILURES)[:MOST_FAILURES])


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Whether the machinery runs that keeps links alive. ``since`` is when the oldest revocation was put off."""

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
