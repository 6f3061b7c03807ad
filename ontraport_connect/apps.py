from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OntraportConnectConfig(AppConfig):
    name = "ontraport_connect"
    verbose_name = _("Ontraport")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, refreshing  # noqa: F401, PLC0415  # they register themselves, which needs the models
