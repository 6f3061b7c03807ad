"""Ontraport links for support staff: what state each is in, what happened, and what can be done. No secret anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from . import linking, refreshing
from .exceptions import OntraportError
from .models import OntraportAccount, OntraportEvent

if TYPE_CHECKING:
    Inline = admin.TabularInline[OntraportEvent, OntraportAccount]
    ModelAdmin = admin.ModelAdmin[OntraportAccount]
else:  # Django's classes take no parameters when they run
    Inline = admin.TabularInline
    ModelAdmin = admin.ModelAdmin


class EventInline(Inline):
    model = OntraportEvent
    fields = ("at", "kind", "detail")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(OntraportAccount)
class OntraportAccountAdmin(ModelAdmin):
    list_display = ("__str__", "user", "tenant", "method", "ontraport_id", "status", "expires_at", "last_error")
    list_filter = ("status", "method")
    search_fields = ("label", "ontraport_id", "uid", "tenant")
    list_select_related = ("user",)
    fields = (
        "uid", "user", "tenant", "label", "is_default", "method", "ontraport_id", "scope", "status", "last_error", "failures",
        "linked_at", "refreshed_at", "expires_at", "refresh_at",
    )  # fmt: skip
    readonly_fields = tuple(name for name in fields if name not in {"label", "is_default"})
    inlines = (EventInline,)
    actions = ("refresh_now", "disconnect")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.action(description=_("Refresh now"), permissions=["change"])
    def refresh_now(self, request: HttpRequest, queryset: QuerySet[OntraportAccount]) -> None:
        for account in queryset:
            try:
                refreshing.refresh(account)
            except OntraportError as error:
                self.message_user(request, f"{account}: {error}", messages.ERROR)
            else:
                self.message_user(request, _("%(account)s: refreshed.") % {"account": account}, messages.SUCCESS)

    @admin.action(description=_("Disconnect"), permissions=["delete"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[OntraportAccount]) -> None:
        for account in queryset:
            name = str(account)
            linking.unlink(account)
            self.message_user(request, _("%(account)s: disconnected.") % {"account": name}, messages.SUCCESS)
