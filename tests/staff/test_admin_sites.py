"""A site with several admin sites: whoever works in one stays in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps.registry import Apps
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import models
from django.http import HttpRequest
from django.test import Client, RequestFactory, override_settings
from django.urls import URLPattern, URLResolver, include, path

from ontraport_connect.admin import OntraportAccountAdmin
from ontraport_connect.models import OntraportAccount

pytestmark = pytest.mark.django_db(transaction=True)

support = AdminSite(name="support")
support.register(OntraportAccount, OntraportAccountAdmin)


class Partners(AdminSite):
    """An admin site for people who are no staff."""

    def has_permission(self, request: HttpRequest) -> bool:
        return request.user.is_authenticated and request.user.get_username().startswith("partner")


partners = Partners(name="partners")
partners.register(OntraportAccount, OntraportAccountAdmin)


class Tagged(models.Model):
    """A row of the site that belongs to a link."""

    account = models.ForeignKey(OntraportAccount, models.CASCADE)

    class Meta:
        app_label = "tagged"
        apps = Apps()  # known to nobody else

    def __str__(self) -> str:
        return "tag"


class TaggedAdmin(ModelAdmin):  # type: ignore[type-arg]  # Django's takes none at run time
    autocomplete_fields = ("account",)


class Changed(OntraportAccountAdmin):
    date_hierarchy = "linked_at"
    list_display = ("name", "label", "user")
    list_editable = ("label",)
    list_per_page = 1
    list_filter = ("linked_at", "user")


changed = AdminSite(name="changed")
changed.register(OntraportAccount, Changed)

urlpatterns: list[URLPattern | URLResolver] = [
    path("support/", support.urls),
    path("partners/", partners.urls),
    path("changed/", changed.urls),
    path("", include("tests.urls")),
]

LIST = "/support/ontraport_connect/ontraportaccount/"


@pytest.fixture(autouse=True)
def two_sites() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def account() -> Any:
    return OntraportAccount.objects.create(user=get_user_model().objects.create_user("maya"), failures=1)


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("support"))
    return client


def links(response: Any) -> list[str]:
    return re.findall(r'(?:href|action)="(/[^"]*ontraport[^"]*|/admin/[^"]*)"', response.content.decode())


def test_pages_link_within_their_site(staff: Client, account: Any) -> None:
    pages = [
        staff.get(LIST),
        staff.get(f"{LIST}glance/"),
        staff.get(f"{LIST}{account.pk}/change/"),
        staff.get(f"{LIST}{account.pk}/delete/"),
        staff.post(LIST, {"action": "disconnect", "_selected_action": account.pk}),
    ]
    assert [page.status_code for page in pages] == [200] * 5
    assert all(link.startswith(("/support/", "/static/")) for page in pages for link in links(page))
    assert all(any(link.startswith(LIST) for link in links(page)) for page in pages)


def test_refresh_leads_back_to_the_page_it_came_from(staff: Client, account: Any) -> None:
    response = staff.post(f"{LIST}{account.pk}/refresh/")
    assert response["Location"] == f"{LIST}{account.pk}/change/"


@pytest.mark.parametrize(("name", "is_let_in"), [("partner", True), ("tomas", False)])
def test_a_site_decides_itself_whom_it_lets_in(client: Client, account: Any, name: str, is_let_in: bool) -> None:
    user = get_user_model().objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="ontraport_connect"))
    client.force_login(user)
    listed = "/partners/ontraport_connect/ontraportaccount/"
    pages = [client.get(f"{listed}{page}") for page in ("", "glance/", f"{account.pk}/change/")]
    assert [page.status_code for page in pages] == [200 if is_let_in else 302] * 3
    client.post(listed, {"action": "disconnect", "_selected_action": account.pk, "post": "yes"})
    assert OntraportAccount.objects.exists() is not is_let_in


@pytest.mark.parametrize(("fields", "most"), [(20, 15), (5, 1), (None, 500)])
def test_no_more_are_disconnected_at_once_than_the_form_may_have_fields(
    staff: Client, account: Any, fields: int | None, most: int
) -> None:
    """Django refuses a form of more than ``DATA_UPLOAD_MAX_NUMBER_FIELDS`` fields, that which asks for instance, with a bare 400."""
    OntraportAccount.objects.bulk_create([OntraportAccount(user=account.user) for _ in range(most)])
    ask = {"action": "disconnect", "_selected_action": account.pk, "select_across": "1"}
    with override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=fields):
        refused = staff.post(LIST, ask, follow=True)
        (said,) = refused.context["messages"]
        assert str(said) == f"You can disconnect up to {most} accounts at once. Narrow the list first."
        account.delete()
        page = staff.post(LIST, {**ask, "_selected_action": OntraportAccount.objects.all()[0].pk}).content.decode()
        form = {"action": "disconnect", "post": "yes", "_selected_action": re.findall(r'_action" value="(\d+)"', page)}
        assert staff.post(LIST, {**form, "csrfmiddlewaretoken": "x"}).status_code == 302
    assert not OntraportAccount.objects.exists()


def test_an_account_is_chosen_in_a_field_that_completes_it(staff: Client, account: OntraportAccount) -> None:
    """https://github.com/shacker/django-todo/issues/87: Django's check refused the site."""
    assert TaggedAdmin(Tagged, support).check() == []
    OntraportAccount.objects.update(label="Shop")
    assert (
        support._registry[OntraportAccount]
        .get_search_results(RequestFactory().get("/"), OntraportAccount.objects.all(), "shop")[0]
        .get()
        == account
    )


def test_an_admin_of_the_sites_own_that_derives_from_ours(staff: Client, account: OntraportAccount) -> None:
    listed = "/changed/ontraport_connect/ontraportaccount/"
    for query in ("", "?p=2", "?linked_at__year=2026", f"?user__id__exact={account.user_id}", "?all="):
        assert staff.get(f"{listed}{query}").status_code == 200
    rows = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": account.pk, "form-0-label": "Shop"}
    assert staff.post(listed, {**rows, "_save": "Save"}).status_code == 302
    assert OntraportAccount.objects.get().label == "Shop"
