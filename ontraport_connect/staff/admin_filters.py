"""Filters of the account list in the admin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ontraport_connect import refreshing
from ontraport_connect.models import (
    Method,
    OntraportAccount,
    Status,
    are_elsewhere,
    found_by,
    owner_is_inactive,
)
from ontraport_connect.refreshing import LinkState

if TYPE_CHECKING:
    Model = admin.ModelAdmin[OntraportAccount]
else:  # Django's classes are not subscriptable at run time
    Model = admin.ModelAdmin

Choices = Sequence[tuple[str, Any]]


STATE = "state"
"""The parameter of the list that names a condition of accounts."""


def account_conditions() -> dict[str, Q]:
    """Return a query for each state of an account, and of its token. The dashboard counts by them and the list filters by them."""
    now = timezone.now()
    token = Q(status=Status.CONNECTED, method=Method.OAUTH)
    states = refreshing.link_conditions(refreshing.site_pause())
    return {
        **{state.value: condition for state, condition in states.items()},
        "expiring": token & Q(expires_at__gt=now, expires_at__lte=now + timedelta(hours=1)),
        "expired": token & Q(expires_at__lte=now),
    }


def state_titles() -> Choices:
    """Return the conditions by which accounts are filtered, with their titles."""
    return [
        *LinkState.choices,
        ("expiring", _("token expires within the hour")),
        ("expired", _("token expired")),
        ("inactive", _("owner inactive")),
    ]


def search_fields() -> list[str]:
    """Return the columns in which an account is searched for: its own, and the user's name and e-mail address in the same database."""
    people = [] if are_elsewhere() else [f"user__{name}" for name in _names_of_people()]
    return ["label", "ontraport_id", "tenant", *people]


def people_matching(words: Sequence[str]) -> Q:
    """Return the condition that an account's user matches all words, where ``search_fields`` cannot reach users; else an empty one."""
    if not (words and are_elsewhere()):
        return Q()
    condition = Q()
    for word in words:
        condition &= reduce(or_, (Q(**{f"{name}__icontains": word}) for name in _names_of_people()))
    return found_by(condition)


def _names_of_people() -> Sequence[str]:
    user = get_user_model()
    names = {user.USERNAME_FIELD, user.get_email_field_name()}
    return sorted(names & {field.name for field in user._meta.get_fields()})


class StateFilter(admin.SimpleListFilter):
    """Filters by the state that the list shows, and by conditions that it does not show."""

    title = _("state")
    parameter_name = STATE

    def lookups(self, request: HttpRequest, model_admin: Model) -> Choices:
        return state_titles()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "inactive":
            personal = queryset.filter(tenant="")
            return personal.filter(owner_is_inactive(personal))
        condition = account_conditions().get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class TenantFilter(admin.SimpleListFilter):
    """Filters by tenant. Offers the first hundred; search finds the others."""

    title = _("tenant")
    parameter_name = "tenant"
    most = 100

    def lookups(self, request: HttpRequest, model_admin: Model) -> Choices:
        tenants = OntraportAccount.objects.exclude(tenant="").order_by("tenant").values_list("tenant", flat=True)
        return [(tenant, tenant) for tenant in tenants.distinct()[: self.most]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(tenant=self.value()) if self.value() else queryset
