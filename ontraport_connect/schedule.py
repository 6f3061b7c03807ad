"""The entry for Celery beat: ``CELERY_BEAT_SCHEDULE = {**BEAT_SCHEDULE}``."""

from __future__ import annotations

from typing import Any

INTERVAL = 60.0
"""Seconds between two runs of the beat task."""

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "ontraport-refresh-expiring-tokens": {
        "task": "ontraport_connect.tasks.refresh_expiring_tokens",
        "schedule": INTERVAL,
    },
}
"""The beat task, once a minute. Merge it into your own ``CELERY_BEAT_SCHEDULE``."""
