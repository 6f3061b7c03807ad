"""When beat and workers were last seen, left in the database for whoever is woken at night."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, Value
from django.db.models.functions import Now

from . import service
from .database import alias
from .models import OntraportService

RESOLUTION = timedelta(seconds=10)


def beat() -> None:
    _seen("beat_at")


def worker() -> None:
    _seen("worker_at")


def _seen(name: str) -> None:
    """Write the time, unless that was done a moment ago: a hundred workers must not queue for one row."""
    service.standing()
    stale = Q(**{name: None}) | Q(**{f"{name}__lt": Now() - Value(RESOLUTION)})
    OntraportService.objects.using(alias()).filter(stale, pk=1).update(**{name: Now()})
