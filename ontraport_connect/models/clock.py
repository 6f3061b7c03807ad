"""The time by the clock of the database, as this database stores times."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

from django.conf import settings
from django.db.models import functions
from django.utils import timezone


class Now(functions.Now):  # noqa: TID251
    """The time of a statement, to compare with stored times and to store.

    PostgreSQL stores moments. SQLite and MySQL store the numbers of a calendar and a clock: those of UTC, of the zone of the connection
    (``TIME_ZONE`` in ``DATABASES``), or, without ``USE_TZ``, those of the site's own zone. Django's ``Now`` has UTC's on SQLite, and on
    MySQL those of the server's zone, which may be any.
    """

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, Any]:
        seconds = _seconds_ahead_of_utc(connection)
        template = f"STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', '{seconds:+d} seconds')"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, Any]:
        seconds = _seconds_ahead_of_utc(connection)
        return self.as_sql(compiler, connection, template=f"(UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND)", **extra)


def aware(stored: datetime) -> datetime:
    """Return a stored time with its zone: without ``USE_TZ``, what is stored are the numbers of the site's own zone."""
    return stored if timezone.is_aware(stored) else timezone.make_aware(stored, timezone.get_default_timezone())


def as_stored(moment: datetime) -> datetime:
    """Return a time with a zone as this site stores times: without ``USE_TZ``, as the numbers of the site's own zone."""
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())


def _seconds_ahead_of_utc(connection: Any) -> int:
    zone: tzinfo = connection.timezone if settings.USE_TZ else timezone.get_default_timezone()
    ahead = datetime.now(zone).utcoffset()
    return 0 if ahead is None else round(ahead.total_seconds())
