"""Texts that have to be true in the state in which they are shown."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from ontraport_connect.decorators import ontraport_required
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import Method, OntraportAccount, Status
from ontraport_connect.refreshing import circuit_breaker
from tests.support.pages import ACCOUNTS, KEY, linked, text
from tests.urls import urlpatterns as usual

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unreachable")]

CLEARED = "We cleared this field, because we never show a key again."


@ontraport_required
def needing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [*usual, path("needing/", needing)]


def seen(response: Any) -> str:
    return html.unescape(text(response))


@pytest.mark.parametrize("method", [Method.OAUTH, Method.API_KEY])
def test_access_is_lost_by_disconnecting_only_where_there_was_any(client: Client, maya: Any, method: Method) -> None:
    linked(maya, method=method)
    page = seen(client.get(ACCOUNTS))
    assert "<li>We lose access immediately and delete the stored credentials.</li>" in page
    assert "Features of this site that use this account won't work until you connect it again." in page
    OntraportAccount.objects.update(status=Status.NEEDS_RECONNECT)
    page = seen(client.get(ACCOUNTS))
    assert "lose access" not in page
    assert "<li>We delete the stored credentials.</li>" in page
    assert "Features of this site that use this account won't work until you connect it again." in page


def test_a_problem_of_the_site_is_called_the_same_on_every_page(client: Client, maya: Any) -> None:
    linked(maya)
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    same = "Something on our side isn't working"
    assert seen(client.get(ACCOUNTS)).count(same) == 2
    assert f"<h1>{same}</h1>" in seen(client.get("/ontraport/problem/misconfigured/"))


def test_who_has_to_do_something_is_not_told_above_it_that_there_is_nothing_to_do(client: Client, maya: Any) -> None:
    linked(maya)
    linked(maya, method=Method.API_KEY, ontraport_id="71", status=Status.NEEDS_RECONNECT)
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    page = seen(client.get(ACCOUNTS))
    assert "1 of 2 accounts needs your attention." in page
    assert "Your connections are safe.</p>" in page


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({"status": Status.NEEDS_RECONNECT}, "needs this Ontraport account. Please reconnect it first."),
        (
            {"status": Status.NEEDS_RECONNECT, "method": Method.API_KEY},
            "needs this Ontraport account. Please enter a new key first.",
        ),
        (None, "needs your Ontraport account. Please connect it first."),
    ],
)
def test_who_was_sent_to_connect_is_told_what_to_do_first(
    client: Client, maya: Any, values: dict[str, Any] | None, asked: str
) -> None:
    if values is not None:
        linked(maya, **values)
    with override_settings(ROOT_URLCONF="tests.pages.test_words"):
        assert f"The page you want {asked}" in seen(client.get("/needing/", follow=True))


@pytest.mark.parametrize(
    ("sent", "complaint", "is_cleared"),
    [
        ({"app_id": "2 1", "api_key": "some-key"}, "That App ID isn't valid.", True),
        ({"app_id": "2_1_x", "api_key": "some key"}, "That key isn't valid.", True),
        ({"app_id": "2_1_x", "api_key": "some-key"}, "We couldn't reach Ontraport", True),
        ({"app_id": "2_1_x"}, "This field is required.", False),
    ],
)
def test_a_key_form_that_comes_back_says_why_the_key_is_not_in_it(
    client: Client, maya: Any, sent: dict[str, str], complaint: str, is_cleared: bool
) -> None:
    assert CLEARED not in seen(client.get(KEY))
    page = seen(client.post(KEY, sent))
    assert complaint in page
    assert (CLEARED in page) == is_cleared
    assert ('aria-describedby="id_api_key_helptext' in page) == is_cleared
