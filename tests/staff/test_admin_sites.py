"""A site with several admin sites: whoever works in one stays in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, include, path

from ontraport_connect.admin import OntraportAccountAdmin
from ontraport_connect.models import OntraportAccount

pytestmark = pytest.mark.django_db(transaction=True)

support = AdminSite(name="support")
support.register(OntraportAccount, OntraportAccountAdmin)

urlpatterns: list[URLPattern | URLResolver] = [path("support/", support.urls), path("", include("tests.urls"))]

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
