"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.signals import request_finished
from django.utils.translation import gettext_lazy as _


class OntraportConnectConfig(AppConfig):
    name = "ontraport_connect"
    verbose_name = _("Ontraport")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, protocol, refreshing  # noqa: F401, PLC0415  # they register themselves, once the models are there

        request_finished.connect(lambda **event: protocol.close_idle_connections(), weak=False, dispatch_uid=self.name)
