"""Attempts to link an account, between the button and the callback."""

from __future__ import annotations

from django.db import models


class OntraportAttempt(models.Model):
    """One attempt, in a row of its own: no other request of the browser can lose it, and one of many processes can use it.

    ``digest`` is the SHA-256 of the ``state``, ``browser`` that of the browser's cookie, and ``person`` that of the user's primary key.
    ``values`` is a JSON object. Times are those of the database's clock: ``used_at`` is when the callback came, and ``finished_at`` when
    its grant was stored, or could not be. A used attempt keeps its row until it would have expired, so that an answer which comes once
    more is known as such.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    browser = models.CharField(max_length=64)
    person = models.CharField(max_length=64, db_index=True)
    values = models.TextField()
    started_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"started {self.started_at:%Y-%m-%d %H:%M}"
