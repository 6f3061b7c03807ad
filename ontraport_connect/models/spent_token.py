"""Refresh tokens that were spent where their row could not be written at once."""

from __future__ import annotations

from django.db import models

from .exact_texts import ExactCharField


class OntraportSpentToken(models.Model):
    """A refresh token that was sent to Ontraport, and the new tokens that came for it.

    It is committed on its own, so that it outlives a rollback of the transaction that wrote the account's row. ``access_token`` and
    ``refresh_token`` are the ciphertexts for the row of the account; both are empty until Ontraport has answered.
    """

    digest = ExactCharField(max_length=64, primary_key=True)
    account_uid = models.UUIDField(db_index=True)
    owner = ExactCharField(max_length=32)
    sent_at = models.DateTimeField()
    until = models.DateTimeField()
    access_token = models.BinaryField(null=True)
    refresh_token = models.BinaryField(null=True)
    lifetime = models.FloatField(null=True)
    scope = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name = "spent refresh token"
        verbose_name_plural = "spent refresh tokens"

    def __str__(self) -> str:
        return f"{self.account_uid} {self.sent_at:%Y-%m-%d %H:%M}"
