"""Values of ``state`` that came back already."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class OntraportUsedState(models.Model):
    """A ``state`` that came back; the primary key makes that happen once, whatever the session store can promise."""

    digest = models.CharField(max_length=64, primary_key=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"used {self.at:%Y-%m-%d %H:%M}"
