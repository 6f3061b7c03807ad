"""The rate limiter's memory where there is no Redis."""

from __future__ import annotations

from django.db import models

from .exact_texts import ExactCharField


class OntraportBudget(models.Model):
    """When one Ontraport account was called of late, where there is no Redis to remember it; see ``budget``."""

    key = ExactCharField(max_length=64, primary_key=True)
    state = models.TextField(blank=True, default="")
    version = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return self.key
