"""How many seconds Ontraport asks this site to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RATE_LIMIT_PAUSE = 60.0
LONGEST_PAUSE = 3600.0


def pause_of(headers: Mapping[str, str]) -> float:
    """Return how many seconds to wait after a 429, from 1 to ``LONGEST_PAUSE``.

    Reads ``Retry-After`` (RFC 9110, 10.2.3), else ``X-Rate-Limit-Reset``; without either it is ``RATE_LIMIT_PAUSE``.
    """
    pause = retry_after(headers)
    if pause is None:
        pause = _seconds(headers.get("X-Rate-Limit-Reset", ""))
    return RATE_LIMIT_PAUSE if pause is None else pause


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``Retry-After``, given as a number or a date, or ``None`` when it says neither."""
    value = headers.get("Retry-After", "")
    seconds = _seconds(value)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
        return _bounded_pause((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _seconds(value: str) -> float | None:
    return _bounded_pause(float(value)) if re.fullmatch(r"\s*[0-9]{1,12}\s*", value, re.ASCII) else None


def _bounded_pause(seconds: float) -> float:
    return min(max(seconds, 1.0), LONGEST_PAUSE)
