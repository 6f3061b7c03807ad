"""How support narrows the list of accounts in the admin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ontraport_connect.models import Method, OntraportAccount, Status, owner_is_inactive

if TYPE_CHECKING:
    Model = admin.ModelAdmin[OntraportAccount]
else:  # Django's classes take no parameters when they run
    Model = admin.ModelAdmin

Choices = Sequence[tuple[str, Any]]


def conditions() -> dict[str, Q]:
    """Return what a link can be in need of; the numbers of the glance page and the filter of the list are the same."""
    now = timezone.now()
    connected = Q(status=Status.CONNECTED)
    token = connected & Q(method=Method.OAUTH)
    return {
        "well": connected & Q(failures=0),
        "failing": connected & Q(failures__gt=0),
        "ended": Q(status=Status.NEEDS_RECONNECT),
        "expiring": token & Q(expires_at__gt=now, expires_at__lte=now + timedelta(hours=1)),
        "expired": token & Q(expires_at__lte=now),
        "inactive": Q(tenant="") & owner_is_inactive(),
    }


class ConditionFilter(admin.SimpleListFilter):
    """How a link is doing, beyond its state."""

    title = _("condition")
    parameter_name = "condition"

    def lookups(self, request: HttpRequest, model_admin: Model) -> Choices:
        return [
            ("failing", _("refresh failing")),
            ("expiring", _("token ends within the hour")),
            ("expired", _("token has ended")),
            ("inactive", _("owner not active")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        condition = conditions().get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class TenantFilter(admin.SimpleListFilter):
    """The tenants, the first hundred of them; others are found by search."""

    title = _("tenant")
    parameter_name = "tenant"
    most = 100

    def lookups(self, request: HttpRequest, model_admin: Model) -> Choices:
        tenants = OntraportAccount.objects.exclude(tenant="").order_by("tenant").values_list("tenant", flat=True)
        return [(tenant, tenant) for tenant in tenants.distinct()[: self.most]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(tenant=self.value()) if self.value() else queryset
