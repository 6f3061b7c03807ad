"""The admin of accounts and their history. It shows no secret."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Value
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from . import refreshing, staff
from .conf import conf
from .models import SECRET_FIELDS, Method, OntraportAccount, OntraportEvent, validate_label, with_users
from .pages import ago, as_element, exactly, uuid_or_none
from .refreshing import SitePause, link_state
from .staff import AccountActions, EventHistory, StateFilter, TenantFilter, may_see_events

MAX_EVENTS = 100
NO_FURTHER_JOINS = ()  # get_queryset reads the users; Django 6.1 would join them, and they may be in another database
TEMPLATES = "admin/ontraport_connect/ontraportaccount"


@admin.register(OntraportAccount)
class OntraportAccountAdmin(AccountActions):
    list_display: Any = ("name", "badge", "user", "refreshed")
    list_display_links = ("name",)
    list_select_related = NO_FURTHER_JOINS
    list_filter: ClassVar[Any] = (StateFilter, "method", TenantFilter)
    list_per_page = 50
    search_fields = ("label",)  # the check of autocomplete_fields asks for it; see get_search_fields
    search_help_text = _("Search by name, user name, email address, tenant, Ontraport account number or ID.")
    ordering: ClassVar[Any] = ("-linked_at",)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("standing", "label", "timeline")}),
        (_("Owner"), {"fields": (("user", "tenant"), "default", "notified")}),
        (_("Ontraport account"), {"fields": (("ontraport_id", "method", "scope"), "handle")}),
        (
            _("Timing"),
            {
                "fields": (("linked_at", "refreshed_at", "last_used_at"), ("expires_at", "refresh_at"), "failures"),
                "description": lazy(lambda: _("Times in %(zone)s.") % {"zone": get_current_timezone_name()}, str)(),
            },
        ),
    )
    readonly_fields: ClassVar[Any] = (
        "standing", "timeline", "user", "tenant", "default", "notified", "ontraport_id", "method", "scope", "handle",
        "linked_at", "refreshed_at", "last_used_at", "expires_at", "refresh_at", "failures",
    )  # fmt: skip
    actions: Any = ("refresh_now", "export", "disconnect")
    change_list_template = f"{TEMPLATES}/change_list.html"
    change_form_template = f"{TEMPLATES}/change_form.html"
    object_history_template = f"{TEMPLATES}/history.html"

    class Media:
        css = {"all": ["ontraport_connect/admin.css"]}

    def get_urls(self) -> list[URLPattern]:
        name = "ontraport_connect_ontraportaccount"
        view = self.admin_site.admin_view
        return [
            path("glance/", view(require_safe(self.glance_view)), name=f"{name}_glance"),
            path("<int:pk>/refresh/", view(require_POST(self.refresh_view)), name=f"{name}_refresh"),
            *super().get_urls(),
        ]

    # Display

    def get_queryset(self, request: HttpRequest) -> QuerySet[OntraportAccount]:
        pause = refreshing.site_pause().code
        rows: Any = super().get_queryset(request).defer(*SECRET_FIELDS).annotate(site_pause=Value(pause))
        return with_users(rows)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if may_see_events(request):
            return fieldsets
        shown = [[field for field in options["fields"] if field != "timeline"] for _title, options in fieldsets]
        return [
            (title, {**options, "fields": fields}) for (title, options), fields in zip(fieldsets, shown, strict=True)
        ]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        names: list[Any] = list(self.list_display)
        if conf.ONTRAPORT_TENANT is not None:
            names.insert(names.index("user"), "tenant")
        return names

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return staff.search_fields()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[OntraportAccount], search_term: str
    ) -> tuple[QuerySet[OntraportAccount], bool]:
        if uid := uuid_or_none(search_term.strip()):
            return queryset.filter(uid=uid), False
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        by_people = staff.people_matching(search_term.split())
        return (found | queryset.filter(by_people)) if by_people else found, may_repeat

    @admin.display(description=_("account"), ordering="label")
    def name(self, account: OntraportAccount) -> str:
        is_key = account.method == Method.API_KEY
        facts = [account.ontraport_id if account.label else "", account.get_method_display() if is_key else ""]
        more = " · ".join(filter(None, map(str, facts)))
        return format_html(
            '<span class="ontraport-name">{}</span> <small class="ontraport-fact">{}</small>', account, more
        )

    @admin.display(description=_("state"), ordering="status")
    def badge(self, account: Any) -> str:
        return render_to_string(
            f"{TEMPLATES}/badge.html",
            {"state": link_state(account, SitePause(account.site_pause)), "code": account.last_error},
        )

    @admin.display(description=_("state"))
    def standing(self, account: Any) -> str:
        """The badge, and what support can tell the owner."""
        state = link_state(account, SitePause(account.site_pause))
        return render_to_string(
            f"{TEMPLATES}/standing.html", {"account": account, "state": state, "code": account.last_error}
        )

    @admin.display(description=_("last refreshed"), ordering="refreshed_at")
    def refreshed(self, account: OntraportAccount) -> str:
        return as_element(moment, ago(moment)) if (moment := account.refreshed_at) else self.get_empty_value_display()

    @admin.display(description=_("ID"))
    def handle(self, account: OntraportAccount) -> str:
        return format_html('<code class="ontraport-copy">{}</code>', account.uid)

    @admin.display(description=_("events"))
    def timeline(self, account: OntraportAccount) -> str:
        events = OntraportEvent._default_manager.filter(account_uid=account.uid)[:MAX_EVENTS]
        return render_to_string(f"{TEMPLATES}/timeline.html", {"events": events})

    @admin.display(description=_("default"))
    def default(self, account: OntraportAccount) -> str:
        """In words: the red cross of a boolean looks like a fault."""
        return str(_("Yes") if account.is_default else _("No"))

    @admin.display(description=_("notified by email"))
    def notified(self, account: OntraportAccount) -> str:
        return exactly(account.notified_at) if account.notified_at else str(_("Not yet"))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, labels={"label": _("Name")}, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs |= {"validators": [validate_label]} if db_field.name == "label" else {}
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    # Permissions and actions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context["show_delete"] = False
        account = kwargs.get("obj")
        context["can_refresh"] = self.has_change_permission(request, account) and account and account.is_connected
        return super().render_change_form(request, context, *args, **kwargs)

    def render_delete_form(self, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
        return super().render_delete_form(
            request,
            {
                **context,
                **staff.consequences([context["object"]]),
                "media": self.media,
            },
        )

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the account's own history above what Django has logged of changes in the admin."""
        response: Any = super().history_view(request, object_id, extra_context)
        context: Any = getattr(response, "context_data", None)  # none where Django redirects, since the account is gone
        if context is not None and may_see_events(request):
            context |= {"timeline": self.timeline(context["object"]), "media": self.media}
        return response

    def refresh_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Refresh the account of an open change page."""
        accounts = self.get_queryset(request).filter(pk=pk)
        account = accounts.first()
        if not self.has_change_permission(request, account):
            raise PermissionDenied
        if account is None:
            raise Http404
        self.refresh_now(request, accounts)
        return HttpResponseRedirect(self._url("change", pk))

    def _url(self, name: str, *args: Any) -> str:
        """Return the address of a page of this model in this admin site, of which there may be several."""
        return reverse(f"admin:ontraport_connect_ontraportaccount_{name}", args=args, current_app=self.admin_site.name)

    def glance_view(self, request: HttpRequest) -> HttpResponse:
        """Show the dashboard: counts, background jobs, the refreshes of the last day, and recent failures."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("Ontraport overview"),
            "opts": self.model._meta,
            "tiles": staff.tiles(),
            "bars": staff.refresh_chart(),
            "picture": staff.Chart,
            "zone": get_current_timezone_name(),
            "failures": staff.recent_failures() if may_see_events(request) else None,
            "health": staff.site_health(),
            "media": self.media,
        }
        return TemplateResponse(request, f"{TEMPLATES}/glance.html", context)


@admin.register(OntraportEvent)
class OntraportEventAdmin(EventHistory):
    """The read-only history of all accounts, including deleted ones."""

    list_display = ("moment", "what", "ontraport_id", "user", "actor", "reason")
    fields = ("moment", "what", "reason", "actor", "account", "account_uid", "ontraport_id", "user", "tenant")
    readonly_fields = fields

    @admin.display(description=_("time"), ordering="at")
    def moment(self, event: OntraportEvent) -> str:
        return exactly(event.at)

    @admin.display(description=_("details"), ordering="detail")
    def reason(self, event: OntraportEvent) -> str:
        empty = str(self.get_empty_value_display())
        return render_to_string(f"{TEMPLATES}/reason.html", {"code": event.detail}) if event.detail else empty

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[OntraportEvent], search_term: str
    ) -> tuple[QuerySet[OntraportEvent], bool]:
        if uid := uuid_or_none(search_term.strip()):
            return queryset.filter(account_uid=uid), False
        return super().get_search_results(request, queryset, search_term)
