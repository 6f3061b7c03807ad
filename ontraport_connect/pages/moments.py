"""Moments in words: how long ago, and exactly, with the time zone."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ontraport_connect.models import aware

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def ago(moment: datetime) -> str:
    """Return "12 minutes ago". A moment in the future, by a clock that differs, is just now."""
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < MINUTE:
        return _("just now")
    if seconds < HOUR:
        return _minutes(int(seconds // MINUTE))
    if seconds < DAY:
        return _hours(int(seconds // HOUR))
    return _days(int(seconds // DAY))


def _minutes(count: int) -> str:
    return ngettext("%(count)d minute ago", "%(count)d minutes ago", count) % {"count": count}


def _hours(count: int) -> str:
    return ngettext("%(count)d hour ago", "%(count)d hours ago", count) % {"count": count}


def _days(days: int) -> str:
    if days < 31:
        return ngettext("%(count)d day ago", "%(count)d days ago", days) % {"count": days}
    months = days * 12 // 365 or 1
    if months < 12:
        return ngettext("%(count)d month ago", "%(count)d months ago", months) % {"count": months}
    return ngettext("%(count)d year ago", "%(count)d years ago", months // 12) % {"count": months // 12}


def exactly(moment: datetime) -> str:
    """Return the moment in the active language and time zone, with the zone's name."""
    local = timezone.localtime(aware(moment))
    return f"{date_format(local, 'DATETIME_FORMAT')} {local.tzname()}"


def as_element(moment: datetime, text: str) -> str:
    """Return a ``time`` element that shows ``text``, and the exact moment to who points at it."""
    return format_html('<time datetime="{}" title="{}">{}</time>', aware(moment).isoformat(), exactly(moment), text)
