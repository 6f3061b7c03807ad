"""The row of one link between an owner and an Ontraport account, and which rows a request may see."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, router, transaction
from django.db.models.deletion import CASCADE, SET_NULL, Collector
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ontraport_connect.conf import conf, tenant_of
from ontraport_connect.encryption import EncryptedTextField

from . import people
from .calls import UsesOntraport
from .changed_fields import SavesChanges

SECRET_FIELDS = ("access_token", "refresh_token", "app_id")


LONGEST_UNUSED = 7 * 86_400.0
"""Seconds after which a refresh token is used, however long its access token lives: nobody knows when an unused one ends."""


class Method(models.TextChoices):
    OAUTH = "oauth", _("OAuth")
    API_KEY = "api_key", _("API key")


class Status(models.TextChoices):
    CONNECTED = "connected", _("connected")
    NEEDS_RECONNECT = "needs_reconnect", _("needs reconnect")


def refresh_delay(lifetime: float) -> float:
    """Return how many seconds after its issue a token is refreshed: ``ONTRAPORT_REFRESH_MARGIN`` before its end, or at half of its lifetime
    where the margin is longer than that, and after a week at the latest.
    """
    return min(lifetime - min(conf.ONTRAPORT_REFRESH_MARGIN, lifetime / 2), LONGEST_UNUSED)


def forget_user(
    collector: Collector, field: models.Field[Any, Any], accounts: models.QuerySet[OntraportAccount], using: str
) -> None:
    """``on_delete`` of the user: personal links go with the person (and are revoked), links of a tenant stay with the tenant."""
    SET_NULL(collector, field, accounts.exclude(tenant=""), using)
    CASCADE(collector, field, accounts.filter(tenant=""), using)


class OntraportAccountQuerySet(models.QuerySet["OntraportAccount"]):
    def for_request(self, request: HttpRequest) -> OntraportAccountQuerySet:
        """Return the accounts that the person of this request may see: the only way in which views reach rows."""
        user: Any = getattr(request, "user", None)
        return self.for_owner(user.pk, tenant_of(request)) if people.is_signed_in(user) else self.none()

    def for_owner(self, user: Any, tenant: str | None) -> OntraportAccountQuerySet:
        """Return the accounts of ``tenant``, or the personal ones of ``user`` (an instance or pk) when ``tenant`` is ``None``.

        With an empty ``tenant`` there are none: tenants are used, and the request has none.
        """
        if tenant is None:
            return self.filter(user=user, tenant="")
        return self.filter(tenant=tenant) if tenant else self.none()

    def usable(self) -> OntraportAccountQuerySet:
        """Leave out the accounts of people who were deactivated; those of a tenant do not depend on one person."""
        return self.filter(~models.Q(tenant="") | people.owner_is_active())

    def bulk_update(self, objs: Any, fields: Iterable[str], batch_size: int | None = None) -> int:
        """Do what Django's does, but for secrets: a stale one would bring a spent token back, which ``save`` knows to prevent."""
        if refused := {*fields} & {*SECRET_FIELDS}:
            raise TypeError(f"{', '.join(sorted(refused))}: assign secrets to an instance and call save().")
        return super().bulk_update(objs, fields, batch_size=batch_size)

    def due(self) -> OntraportAccountQuerySet:
        """Return the accounts to be refreshed by now, by the clock of the database."""
        return self.filter(status=Status.CONNECTED, refresh_at__lte=Now())


class OntraportAccount(SavesChanges, UsesOntraport):
    """One link between an owner (a user, or a tenant) and one Ontraport account."""

    uid = models.UUIDField(_("handle"), default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=forget_user,
        null=True,
        blank=True,
        related_name="ontraport_accounts",
        help_text=_("Who linked it; the owner, unless a tenant is."),
    )
    tenant = models.CharField(_("tenant"), max_length=200, blank=True, default="")
    label = models.CharField(_("label"), max_length=100, blank=True, default="")
    is_default = models.BooleanField(_("default"), default=False)
    method = models.CharField(_("method"), max_length=10, choices=Method, default=Method.OAUTH)
    ontraport_id = models.CharField(_("Ontraport account"), max_length=40, blank=True, default="")
    scope = models.CharField(_("scope"), max_length=500, blank=True, default="")
    client_id = models.CharField(_("client id"), max_length=500, blank=True, default="")
    issuer = models.CharField("issuer", max_length=500, blank=True, default="", editable=False)
    access_token = EncryptedTextField(_("access token"), null=True)
    refresh_token = EncryptedTextField(_("refresh token"), null=True)
    app_id = EncryptedTextField(_("App ID"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    refresh_at = models.DateTimeField(_("next refresh"), null=True, blank=True)
    status = models.CharField(_("state"), max_length=20, choices=Status, default=Status.CONNECTED)
    last_error = models.CharField(_("last error"), max_length=100, blank=True, default="")
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    linked_at = models.DateTimeField(_("linked"), default=timezone.now)
    refreshed_at = models.DateTimeField(_("last refreshed"), null=True, blank=True)
    notified_at = models.DateTimeField(_("told by e-mail"), null=True, blank=True, editable=False)

    version = models.PositiveBigIntegerField(default=0, editable=False)
    lease_owner = models.CharField(max_length=32, blank=True, default="", editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[Any] = OntraportAccountQuerySet.as_manager()

    class Meta:
        verbose_name = _("Ontraport account")
        verbose_name_plural = _("Ontraport accounts")
        ordering = ("-is_default", "linked_at", "pk")
        permissions = (("link_ontraportaccount", "Can link Ontraport accounts"),)
        indexes = (
            models.Index(fields=["refresh_at", "id"], name="ontraport_refresh_at"),
            models.Index(fields=["tenant"], name="ontraport_tenant"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["user", "method", "ontraport_id"],
                condition=models.Q(tenant="") & ~models.Q(ontraport_id=""),
                name="ontraport_once_per_user",
            ),
            models.UniqueConstraint(
                fields=["tenant", "method", "ontraport_id"],
                condition=~models.Q(tenant="") & ~models.Q(ontraport_id=""),
                name="ontraport_once_per_tenant",
            ),
        )

    def __str__(self) -> str:
        return self.label or (f"Ontraport {self.ontraport_id}" if self.ontraport_id else "Ontraport")

    def save(
        self,
        *,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Write what was changed since the row was read, and nothing else, so that an account read before a refresh
        cannot bring a spent token back.
        """
        using = using or router.db_for_write(type(self), instance=self)
        if self._state.adding or force_insert:
            columns = None
            self._schedule()
        else:
            columns = self.changed() if update_fields is None else set(update_fields)
            if columns & {*SECRET_FIELDS, "expires_at"} and "refresh_at" not in columns:
                columns |= self._schedule()
        with transaction.atomic(using=using, savepoint=False):
            if columns is not None and columns & {*SECRET_FIELDS}:
                columns |= self._raise_version(using)
            super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=columns)
        self.remember(columns)

    def _raise_version(self, using: str) -> set[str]:
        """Count the version of the row up by one statement, which also locks the row. Receivers of signals see the number."""
        row = type(self)._base_manager.using(using).filter(pk=self.pk)
        if row.update(version=models.F("version") + 1):
            self.version = row.values_list("version", flat=True).get()
        return {"version"}

    def adopt(self, current: OntraportAccount) -> None:
        """Take over the values of ``current``, the same row read later, but for what people may edit and was changed here."""
        edited = self.changed() & {"label", "is_default", "user_id", "tenant"}
        self.take_over(current, but=edited)

    @property
    def is_connected(self) -> bool:
        return self.status == Status.CONNECTED

    def is_valid_for(self, seconds: float) -> bool:
        """Tell whether the access token is valid for that long still (an API key always is)."""
        return self.expires_at is None or self.expires_at > timezone.now() + timedelta(seconds=seconds)

    def _schedule(self) -> set[str]:
        """Set when the beat task refreshes tokens that other code than ours brought (an import of existing links)."""
        if self.refresh_token is None or (self._state.adding and self.refresh_at is not None):
            return set()
        expires_at = self.expires_at or timezone.now()
        self.refresh_at = expires_at - timedelta(seconds=conf.ONTRAPORT_REFRESH_MARGIN)
        return {"refresh_at"}
