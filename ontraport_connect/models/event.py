"""The history of links."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .account import OntraportAccount


class EventKind(models.TextChoices):
    LINKED = "linked", _("linked")
    REFRESH_FAILING = "refresh_failing", _("refresh failing")
    RECOVERED = "recovered", _("recovered")
    NEEDS_RECONNECT = "needs_reconnect", _("needs reconnect")
    RECONNECTED = "reconnected", _("reconnected")
    DISCONNECTED = "disconnected", _("disconnected")
    MISCONFIGURED = "misconfigured", _("this site was refused by Ontraport")
    MENDED = "mended", _("this site is accepted again")


class OntraportEvent(models.Model):
    """One line in the history of an account, or of the site where it names none; it outlives the account, and holds no secret."""

    account = models.ForeignKey(
        OntraportAccount, verbose_name=_("account"), on_delete=models.SET_NULL, null=True, related_name="events"
    )
    account_uid = models.UUIDField(_("handle"), null=True, db_index=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.SET_NULL, null=True, related_name="+"
    )
    tenant = models.CharField(_("tenant"), max_length=200, blank=True, default="")
    ontraport_id = models.CharField(_("Ontraport account"), max_length=40, blank=True, default="")
    kind = models.CharField(_("what"), max_length=20, choices=EventKind)
    detail = models.CharField(_("detail"), max_length=200, blank=True, default="")
    at = models.DateTimeField(_("when"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("Ontraport event")
        verbose_name_plural = _("Ontraport events")
        ordering = ("-at", "-pk")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.kind}"

    @classmethod
    def record(cls, account: OntraportAccount, kind: EventKind, detail: str = "", using: str | None = None) -> None:
        cls._default_manager.using(using).create(
            account=None if kind == EventKind.DISCONNECTED else account,
            account_uid=account.uid,
            user_id=account.user_id,
            tenant=account.tenant,
            ontraport_id=account.ontraport_id,
            kind=kind,
            detail=detail[:200],
        )
