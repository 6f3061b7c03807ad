"""The history of all accounts in the admin, which nobody changes"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ontraport_connect.models import OntraportEvent, with_users

if TYPE_CHECKING:
    EventModelAdmin = admin.ModelAdmin[OntraportEvent]
else:  # Django's classes are not subscriptable at run time
    EventModelAdmin = admin.ModelAdmin


def may_see_events(request: HttpRequest) -> bool:
    """Tell whether this person may see the history of accounts, as in the admin of events."""
    return any(request.user.has_perm(f"ontraport_connect.{verb}_ontraportevent") for verb in ("view", "change"))


class EventHistory(EventModelAdmin):
    """How events are listed and searched. The permissions to add, change and delete are nobody's."""

    list_select_related = ()  # as of accounts: get_queryset reads the users
    list_filter = ("kind", "at")
    list_per_page = 50
    search_fields = ("ontraport_id", "tenant", "detail", "actor")
    search_help_text = _("Search by Ontraport account number, tenant, details, who did it, or the ID of an account.")

    class Media:
        css = {"all": ["ontraport_connect/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[OntraportEvent]:
        return with_users(super().get_queryset(request))

    @admin.display(description=_("event"), ordering="kind")
    def what(self, event: OntraportEvent) -> str:
        return str(event.get_kind_display())

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
