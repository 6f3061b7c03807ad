"""The site's standing with Ontraport, and the last sign of life of beat and workers."""

from __future__ import annotations

from django.db import models

from .exact_texts import ExactCharField


class OntraportService(models.Model):
    """One row: whether this site may call Ontraport's token endpoint now, and when its beat and workers were last seen."""

    held_until = models.DateTimeField(null=True)
    hold_code = models.CharField(max_length=40, blank=True, default="")
    hold_client = ExactCharField(max_length=64, blank=True, default="")
    strikes = models.TextField(blank=True, default="")
    installation = ExactCharField(max_length=64, blank=True, default="")
    beat_at = models.DateTimeField(null=True)
    worker_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.hold_code or "open"
