"""The history of links."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .account import OntraportAccount
from .actors import current_actor
from .exact_texts import ExactCharField
from .person_key import PersonKey, keep_without_user


class EventKind(models.TextChoices):
    LINKED = "linked", _("connected")
    REFRESH_FAILING = "refresh_failing", _("refresh failing")
    RECOVERED = "recovered", _("refreshed again")
    NEEDS_RECONNECT = "needs_reconnect", _("access lost")
    RECONNECTED = "reconnected", _("reconnected")
    DISCONNECTED = "disconnected", _("disconnected")
    MISCONFIGURED = "misconfigured", _("site rejected by Ontraport")
    MENDED = "mended", _("site accepted again")


DELIBERATE = frozenset({EventKind.LINKED, EventKind.RECONNECTED, EventKind.DISCONNECTED})
"""What somebody does; the rest happens."""


class OntraportEvent(models.Model):
    """One line in the history of an account, or of the site where it names none; it outlives the account, and holds no secret."""

    account = models.ForeignKey(
        OntraportAccount, verbose_name=_("account"), on_delete=models.SET_NULL, null=True, related_name="events"
    )
    account_uid = models.UUIDField(_("ID"), null=True, db_index=True)
    user = PersonKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=keep_without_user, null=True, related_name="+"
    )
    actor = models.CharField(_("by"), max_length=200, blank=True, default="")
    tenant = ExactCharField(_("tenant"), max_length=200, blank=True, default="")
    ontraport_id = ExactCharField(_("Ontraport account"), max_length=40, blank=True, default="")
    kind = models.CharField(_("event"), max_length=20, choices=EventKind)
    detail = models.CharField(_("details"), max_length=200, blank=True, default="")
    at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("Ontraport event")
        verbose_name_plural = _("Ontraport events")
        ordering = ("-at", "-pk")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.kind}"

    @classmethod
    def record(cls, account: OntraportAccount, kind: EventKind, detail: str = "", using: str | None = None) -> None:
        events: Any = cls._default_manager.using(using)
        events.create(
            account=None if kind == EventKind.DISCONNECTED else account,
            account_uid=account.uid,
            user_id=account.user_id,
            tenant=account.tenant,
            ontraport_id=account.ontraport_id,
            kind=kind,
            actor=current_actor() if kind in DELIBERATE else "",
            detail=detail[:200],
        )
