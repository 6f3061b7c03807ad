"""Admin actions for selected accounts. Each reports its result for every account."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied
from django.db.models import ProtectedError, QuerySet, RestrictedError
from django.db.models.deletion import Collector
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ontraport_connect import linking, refreshing
from ontraport_connect.database import alias
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import Method, OntraportAccount, acting, actor_of, with_users

from . import bulk_operations
from .exports import as_csv

logger = logging.getLogger("ontraport_connect")

if TYPE_CHECKING:
    AccountModelAdmin = admin.ModelAdmin[OntraportAccount]
else:  # Django's classes are not subscriptable at run time
    AccountModelAdmin = admin.ModelAdmin

MAX_DISCONNECTED = 500
"""The most accounts one action disconnects: the confirmation page lists them all and posts their ids."""


FIELDS_BESIDE = 5
"""How many fields the form that asks has at most beside an account's."""


def most_at_once() -> int:
    """Return how many accounts one action disconnects on this site: as many as Django takes fields of the form that asks."""
    fields = cast("int | None", settings.DATA_UPLOAD_MAX_NUMBER_FIELDS)
    return MAX_DISCONNECTED if fields is None else max(1, min(MAX_DISCONNECTED, fields - FIELDS_BESIDE))


def acting_in_admin(request: HttpRequest) -> AbstractContextManager[None]:
    """Let events carry the name of this person, marked as staff's."""
    return acting(lambda: f"{actor_of(request)} (staff)")


def consequences(accounts: Sequence[OntraportAccount]) -> dict[str, object]:
    """Return what the page that asks before these accounts are disconnected has to say of them."""
    return {
        "title": _("Disconnect Ontraport account") if len(accounts) == 1 else _("Disconnect Ontraport accounts"),
        "accounts": accounts,
        "has_keys": any(account.method == Method.API_KEY for account in accounts),
        "has_grants": any(account.method == Method.OAUTH for account in accounts),
        "can_revoke": refreshing.can_revoke(),
    }


class AccountActions(AccountModelAdmin):
    """The actions ``refresh_now`` and ``disconnect``, and whose accounts they may be taken on: ``ONTRAPORT_MAY`` has a say."""

    delete_confirmation_template = "admin/ontraport_connect/ontraportaccount/disconnect.html"

    def has_change_permission(self, request: HttpRequest, obj: OntraportAccount | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_manage(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: OntraportAccount | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_manage(request, obj)

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        where = () if action_location is None else (action_location,)  # since Django 6.1
        actions = super().get_actions(request, *where)
        actions.pop("delete_selected", None)
        return actions

    def delete_model(self, request: HttpRequest, obj: OntraportAccount) -> None:
        with acting_in_admin(request):
            bulk_operations.disconnect_accounts([obj])

    @admin.action(description=_("Refresh now"), permissions=["change"])
    def refresh_now(self, request: HttpRequest, queryset: QuerySet[OntraportAccount]) -> None:
        accounts = list(with_users(queryset))
        _require_manage(request, accounts)
        if len(accounts) > bulk_operations.INLINE_LIMIT:
            count = bulk_operations.make_due([account.pk for account in accounts])
            text = ngettext(
                "%(count)d account queued for refresh.",
                "%(count)d accounts queued for refresh.",
                count,
            )
            self.message_user(request, text % {"count": count}, messages.SUCCESS)
            return
        for outcome in bulk_operations.refresh(accounts):
            self.log_change(request, outcome.account, f"Refresh: {outcome.text}")
            level = messages.SUCCESS if outcome.is_well else messages.WARNING
            self.message_user(request, f"{bulk_operations.name_with_owner(outcome.account)}: {outcome.text}", level)

    @admin.action(description=_("Export as CSV"), permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[OntraportAccount]) -> StreamingHttpResponse:
        return as_csv(queryset)

    @admin.action(description=_("Disconnect…"), permissions=["delete"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[OntraportAccount]) -> HttpResponse | None:
        most = most_at_once()
        accounts = list(with_users(queryset)[: most + 1])
        if len(accounts) > most:
            text = _("You can disconnect up to %(most)d accounts at once. Narrow the list first.")
            self.message_user(request, text % {"most": most}, messages.ERROR)
            return None
        _require_manage(request, accounts)
        if needing := _rows_that_need(accounts):
            text = _("Other data on this site needs these accounts, so nothing was disconnected: %(rows)s.")
            self.message_user(request, text % {"rows": needing}, messages.ERROR)
            return None
        if "post" not in request.POST:
            return self._confirm(request, accounts)
        self._disconnect(request, queryset, accounts)
        return None

    def _confirm(self, request: HttpRequest, accounts: list[OntraportAccount]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "is_action": True,
            **consequences(accounts),
            "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, self.delete_confirmation_template, context)

    def _disconnect(
        self, request: HttpRequest, queryset: QuerySet[OntraportAccount], accounts: list[OntraportAccount]
    ) -> None:
        names = [str(bulk_operations.name_with_owner(account)) for account in accounts]
        self.log_deletions(request, queryset)
        with acting_in_admin(request):
            waiting = bulk_operations.disconnect_accounts(accounts)
        if len(names) > bulk_operations.INLINE_LIMIT:
            text = ngettext("%(count)d account disconnected.", "%(count)d accounts disconnected.", len(names))
            self.message_user(request, text % {"count": len(names)}, messages.SUCCESS)
        else:
            for name in names:
                self.message_user(request, _("%(account)s: disconnected.") % {"account": name}, messages.SUCCESS)
            for account, name in zip(accounts, names, strict=True):
                if refreshing.is_grant_shared(account):
                    kept = _("Ontraport keeps the access, because another connection on this site uses it.")
                    self.message_user(request, f"{name}: {kept}", messages.INFO)
        if waiting:
            text = ngettext(
                "%(count)d revocation is waiting to be sent to Ontraport. The scheduler takes care of it.",
                "%(count)d revocations are waiting to be sent to Ontraport. The scheduler takes care of them.",
                waiting,
            )
            self.message_user(request, text % {"count": waiting}, messages.WARNING)


def _rows_that_need(accounts: Sequence[OntraportAccount]) -> str:
    """Return the names of the models whose rows keep these accounts from being deleted (``on_delete=PROTECT`` or ``RESTRICT``)."""
    rows: set[Any] = set()
    try:
        Collector(using=alias()).collect(accounts)
    except ProtectedError as error:
        rows = error.protected_objects
    except RestrictedError as error:
        rows = error.restricted_objects
    return ", ".join(sorted({str(row._meta.verbose_name_plural) for row in rows}))


def _may_manage(request: HttpRequest, account: OntraportAccount | None) -> bool:
    """Tell whether the person may change or disconnect the account of its tenant, besides what Django's permissions say."""
    if account is None:
        return True
    try:
        return linking.may(request, account.tenant or None, linking.MANAGE)
    except OntraportMisconfigured as error:
        logger.critical("Nobody can manage Ontraport accounts in the admin: %s", error)
        return False


def _require_manage(request: HttpRequest, accounts: Iterable[OntraportAccount]) -> None:
    """Raise ``PermissionDenied`` unless the person may manage all of the accounts. Each tenant is asked for once."""
    if not all(_may_manage(request, account) for account in {account.tenant: account for account in accounts}.values()):
        raise PermissionDenied
