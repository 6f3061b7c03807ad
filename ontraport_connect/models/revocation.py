"""Grants that Ontraport still has to be told about."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ontraport_connect.encryption import EncryptedTextField

from .exact_texts import ExactCharField


class OntraportRevocation(models.Model):
    """A grant that this site has let go of and that Ontraport still has to be told about (RFC 7009).

    ``owner`` is whose the account was (see ``owner_key``), ``person`` the primary key of who linked it, if that was known.
    ``sent_at`` is when a request to revoke it began that has not been answered yet, by the database's clock.
    """

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account_uid = models.UUIDField(db_index=True)
    client_id = ExactCharField(max_length=500, blank=True, default="")
    issuer = ExactCharField(max_length=500, blank=True, default="")
    ontraport_id = ExactCharField(max_length=40, blank=True, default="")
    owner = ExactCharField(max_length=220, blank=True, default="")
    person = ExactCharField(max_length=200, blank=True, default="", db_default="")  # older processes know it not
    refresh_token = EncryptedTextField()
    attempts = models.PositiveIntegerField(default=0)
    try_at = models.DateTimeField(default=timezone.now, db_index=True)
    sent_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("pending revocation")
        verbose_name_plural = _("pending revocations")

    def __str__(self) -> str:
        return f"{self.account_uid} ({self.attempts})"
