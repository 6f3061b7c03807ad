"""The row of one link between an owner and an Ontraport account, and which rows a request may see."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, router, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ontraport_connect.conf import conf, tenant_of
from ontraport_connect.encryption import EncryptedTextField

from . import people
from .calls import UsesOntraport
from .changed_fields import SavesChanges
from .clock import Now
from .exact_texts import ExactCharField
from .person_key import PersonKey, forget_user

SECRET_FIELDS = ("access_token", "refresh_token", "app_id")

REFRESHED = {
    *SECRET_FIELDS,
    "version",
    "lease_owner",
    "lease_until",
    "expires_at",
    "refresh_at",
    "refreshed_at",
    "status",
    "last_error",
    "failures",
    "scope",
    "client_id",
    "issuer",
}
"""The columns that a refresh writes."""


LONGEST_UNUSED = 7 * 86_400.0
"""Seconds after which a refresh token is used, however long its access token lives: nobody knows when an unused one ends."""

IDLE_DELAY = 86_400.0
"""Seconds after which the refresh token of an idle account is used, whose access token may end before."""


class Method(models.TextChoices):
    OAUTH = "oauth", _("OAuth")
    API_KEY = "api_key", _("API key")


class Status(models.TextChoices):
    CONNECTED = "connected", _("connected")
    NEEDS_RECONNECT = "needs_reconnect", _("reconnect needed")


def refresh_delay(lifetime: float, *, is_idle: bool = False) -> float:
    """Return how many seconds after its issue a token is refreshed: ``ONTRAPORT_REFRESH_MARGIN`` before its end, or at half of its lifetime
    where the margin is longer than that, and after a week at the latest. The token of an idle account is refreshed once a day at most.
    """
    delay = min(lifetime - min(conf.ONTRAPORT_REFRESH_MARGIN, lifetime / 2), LONGEST_UNUSED)
    return max(delay, IDLE_DELAY) if is_idle else delay


class OntraportAccountQuerySet(models.QuerySet["OntraportAccount"]):
    def for_request(self, request: HttpRequest) -> OntraportAccountQuerySet:
        """Return the accounts that the person of this request may see: the only way in which views reach rows."""
        person = people.person_of(request)
        return self.none() if person is None else self.for_owner(person.pk, tenant_of(request))

    def for_owner(self, user: Any, tenant: str | None) -> OntraportAccountQuerySet:
        """Return the accounts of ``tenant``, or the personal ones of ``user`` (an instance or pk) when ``tenant`` is ``None``.

        With an empty ``tenant`` there are none: tenants are used, and the request has none. The rows are read where they are written,
        unless ``using`` says where: after linking, a replica that is behind would not know the link yet.
        """
        rows = self.using(vars(self)["_db"] or router.db_for_write(self.model))
        if tenant is None:
            return rows.filter(user=user, tenant="")
        return rows.filter(tenant=tenant) if tenant else rows.none()

    def for_user(self, user: Any) -> OntraportAccountQuerySet:
        """Return the personal accounts of a user (an instance or pk), for code outside of a request."""
        return self.for_owner(user, None)

    def for_tenant(self, tenant: str) -> OntraportAccountQuerySet:
        """Return the accounts of a tenant, for code outside of a request; none where the tenant is empty."""
        return self.for_owner(None, tenant)

    def usable(self) -> OntraportAccountQuerySet:
        """Leave out the accounts of people who were deactivated; those of a tenant do not depend on one person.

        Where users are in another database, it is asked at once for those of the accounts selected so far: narrow them down before.
        """
        return self.filter(~models.Q(tenant="") | people.owner_is_active(self.filter(tenant="")))

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

    uid = models.UUIDField(_("ID"), default=uuid.uuid4, unique=True, editable=False)
    user = PersonKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=forget_user,
        null=True,
        blank=True,
        related_name="ontraport_accounts",
        help_text=_("Who linked it (and owns it, unless a tenant does)."),
    )
    tenant = ExactCharField(_("tenant"), max_length=200, blank=True, default="")
    label = models.CharField(_("label"), max_length=100, blank=True, default="")
    is_default = models.BooleanField(_("default"), default=False)
    method = models.CharField(_("method"), max_length=10, choices=Method, default=Method.OAUTH)
    ontraport_id = ExactCharField(_("Ontraport account"), max_length=40, blank=True, default="")
    scope = models.CharField(_("scope"), max_length=500, blank=True, default="")
    client_id = ExactCharField(_("client ID"), max_length=500, blank=True, default="")
    issuer = ExactCharField("issuer", max_length=500, blank=True, default="", editable=False)
    access_token = EncryptedTextField(_("access token"), null=True)
    refresh_token = EncryptedTextField(_("refresh token"), null=True)
    app_id = EncryptedTextField(_("App ID"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    refresh_at = models.DateTimeField(_("next refresh"), null=True, blank=True)
    status = models.CharField(_("state"), max_length=20, choices=Status, default=Status.CONNECTED)
    last_error = models.CharField(_("last error"), max_length=100, blank=True, default="")
    failures = models.PositiveIntegerField(_("consecutive failures"), default=0)
    linked_at = models.DateTimeField(_("connected on"), default=timezone.now)
    refreshed_at = models.DateTimeField(_("last refreshed"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    notified_at = models.DateTimeField(_("notified by email"), null=True, blank=True, editable=False)

    version = models.PositiveBigIntegerField(default=0, editable=False)
    lease_owner = ExactCharField(max_length=32, blank=True, default="", editable=False)
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

    @classmethod
    def check(cls, **kwargs: Any) -> list[Any]:
        """Leave out that MySQL knows no unique constraints with conditions: migration 0005 says the same in another way there."""
        return [message for message in super().check(**kwargs) if message.id != "models.W036"]

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
        """Write what was changed since the row was read, and nothing else, so that an account read before a refresh cannot bring a spent
        token back. Of ``update_fields``, those that a refresh writes are left out where they were not changed.
        """
        using = using or router.db_for_write(type(self), instance=self)
        if self._state.adding or force_insert:
            columns = None
            self._schedule()
        else:
            changed = self.changed()
            columns = changed if update_fields is None else {*update_fields} - (REFRESHED - changed)
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
    def is_idle(self) -> bool:
        """Whether nobody has used the account for ``ONTRAPORT_IDLE_AFTER``, nor linked it since."""
        if conf.ONTRAPORT_IDLE_AFTER is None:
            return False
        return max(self.linked_at, self.last_used_at or self.linked_at) < timezone.now() - conf.ONTRAPORT_IDLE_AFTER

    @property
    def is_connected(self) -> bool:
        """Whether the link is usable as far as this site knows; false when its owner has to reconnect."""
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
