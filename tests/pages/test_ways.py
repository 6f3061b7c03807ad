"""The ways out of the pages, the moments in words, the language of the pages, and many accounts on one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path, set_script_prefix
from django.utils import timezone
from django.utils.translation import override
from django.views import View

from ontraport_connect.decorators import OntraportRequiredMixin, ontraport_required
from ontraport_connect.models import OntraportAccount, OntraportEvent, Status
from ontraport_connect.pages import ago, as_element, listing, problems, spoken, way_back
from tests.support.pages import ACCOUNTS, CONNECT, KEY, linked, text, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unreachable")]


def free(request: Any) -> HttpResponse:
    return HttpResponse()


@ontraport_required
async def needing(request: Any) -> HttpResponse:
    return HttpResponse()


class Needing(OntraportRequiredMixin, View):
    pass


urlpatterns = [path("free/", free), path("needing/", needing), path("class/", Needing.as_view())]


@pytest.mark.parametrize(
    ("target", "needs"),
    [("/free/?a=1", False), ("/needing/?a=1", True), ("/class/", True), ("/nowhere/", False)],
)
def test_a_page_that_needs_a_link_is_known_and_nobody_is_sent_back_to_it(
    rf: RequestFactory, target: str, needs: bool
) -> None:
    request = rf.get("/")
    request.urlconf = "tests.pages.test_ways"
    assert way_back.needs_link(request, target) is needs
    assert way_back.back(request, target) == ("/" if needs else target)
    set_script_prefix("/site/")
    try:
        assert way_back.needs_link(request, f"/site{target}") is needs
        assert way_back.back(request, "") == "/site/"
    finally:
        set_script_prefix("/")


def test_the_site_is_called_by_its_name_or_its_host(client: Client, maya: Any) -> None:
    assert '<header class="ontraport-header"><a href="/">testserver</a></header>' in text(client.get(CONNECT))
    with override_settings(ONTRAPORT_SITE_NAME="Harbour <Street>"):
        assert "Back to Harbour &lt;Street&gt;" in text(client.get(ACCOUNTS))
    assert way_back.site_of(None).name == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59, "just now"),
        (61, "1 minute ago"),
        (7_200, "2 hours ago"),
        (86_401, "1 day ago"),
        (30 * 86_400, "30 days ago"),
        (32 * 86_400, "1 month ago"),
        (200 * 86_400, "6 months ago"),
        (800 * 86_400, "2 years ago"),
    ],
)
def test_moments_are_told_by_how_long_ago_they_were(seconds: float, words: str) -> None:
    assert ago(timezone.now() - timedelta(seconds=seconds)) == words


def test_the_exact_moment_has_its_zone() -> None:
    moment = timezone.now().replace(2026, 11, 25, 10, 56, 0, 0)
    with timezone.override("America/Los_Angeles"), override("de"):
        element = as_element(moment, ago(moment))
    assert 'title="25. November 2026 02:56 PST"' in element
    assert 'datetime="2026-11-25T10:56:00+00:00"' in element


@pytest.mark.parametrize(
    ("language", "code", "direction", "is_other"),
    [
        ("en", "en", "ltr", False),
        ("en-gb", "en-gb", "ltr", False),
        ("de-at", "de-at", "ltr", False),
        ("nl", "en", "ltr", True),
        ("ar", "en", "ltr", True),
    ],
)
def test_a_language_without_translations_gets_the_page_in_english_as_a_whole(
    language: str, code: str, direction: str, is_other: bool
) -> None:
    with override(language):
        found = spoken()
    assert (found.code, found.direction, found.is_other) == (code, direction, is_other)


@override_settings(LANGUAGE_CODE="ar")
def test_words_of_django_s_own_catalogue_do_not_stand_between_english_ones(client: Client, maya: Any) -> None:
    OntraportEvent.record(linked(maya), "linked")  # type: ignore[arg-type]
    page = text(client.get(ACCOUNTS))
    assert '<div class="ontraport-main" lang="en" dir="ltr">' in page
    assert "History" in page


def test_from_six_accounts_on_they_are_rows_with_a_search_field(client: Client, maya: Any) -> None:
    accounts = [
        linked(maya, label=f"Shop {number}", ontraport_id=f"10{number}") for number in range(listing.COMPACT_FROM)
    ]
    OntraportAccount.objects.filter(pk=accounts[4].pk).update(status=Status.NEEDS_RECONNECT)
    response = client.get(ACCOUNTS)
    cards = response.context["cards"]
    assert [card.account.label for card in cards[:2]] == ["Shop 4", "Shop 0"]
    assert [card.is_open for card in cards] == [True, False, False, False, False, False]
    assert "1 of 6 accounts needs your attention." in text(response)
    assert [card.account.label for card in client.get(f"{ACCOUNTS}?q=shop+103").context["cards"]] == ["Shop 3"]
    by_uid = client.get(f"{ACCOUNTS}?q={accounts[1].uid}").context["cards"]
    assert [card.account.label for card in by_uid] == ["Shop 1"]
    assert "No account matches “nowhere”." in text(client.get(f"{ACCOUNTS}?q=nowhere"))
    opened = client.get(f"{ACCOUNTS}?show={accounts[2].uid}").context["cards"]
    assert [card.account.label for card in opened if card.is_open] == ["Shop 4", "Shop 2"]


def test_after_a_change_the_account_is_in_sight_and_a_wrong_name_is_said_where_it_was_typed(
    client: Client, maya: Any
) -> None:
    account = linked(maya)
    where = f"{ACCOUNTS}?show={account.uid}#account-{account.uid}"
    assert client.post(url("rename", account), {"label": "New"})["Location"] == where
    assert client.post(url("make_default", account))["Location"] == where
    page = client.post(url("rename", account), {"label": "a\u202eb"})
    assert page.status_code == 422
    assert f'aria-describedby="error-{account.uid}"' in text(page)
    assert f'id="error-{account.uid}" role="alert">Use plain characters only' in text(page)


def test_who_may_not_link_reads_why_instead_of_a_bare_403(client: Client, maya: Any) -> None:
    with override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request"):
        client.defaults["HTTP_X_TENANT"] = "north"
        page = client.get(KEY)
        assert page.status_code == 403
        assert "Ask a workspace admin" in text(page)
        assert client.post(KEY, {}, "application/json").status_code == 403
        linked(maya, tenant="north", label="", ontraport_id="7")
        members = text(client.get(ACCOUNTS))
        assert "Connected by</dt><dd><bdi>maya</bdi>" in members
        assert "Ask a workspace admin" not in members


@pytest.mark.parametrize("is_there", [True, False])
def test_a_different_account_can_be_connected_as_well_or_tried_again(client: Client, maya: Any, is_there: bool) -> None:
    account = linked(maya, ontraport_id="")
    session = client.session
    session[problems.SESSION_KEY] = {
        "code": "different_account", "message": "", "said": "", "account": str(account.uid), "next": "/orders/",
    }  # fmt: skip
    session.save()
    if not is_there:
        OntraportAccount.objects.all().delete()
    page = text(client.get("/ontraport/problem/different_account/"))
    assert (f'action="/ontraport/{account.uid}/reconnect/"' in page) is is_there
    assert ("Connect it as another account" in page) is is_there
    assert page.count('name="next" value="/orders/"') == (2 if is_there else 0)


def test_the_id_for_support_is_in_sight_where_something_is_wrong(client: Client, maya: Any) -> None:
    account = linked(maya)
    for status, is_in_sight in ((Status.CONNECTED, False), (Status.NEEDS_RECONNECT, True)):
        OntraportAccount.objects.filter(pk=account.pk).update(status=status)
        page = text(client.get(ACCOUNTS))
        assert page.count("ID for support:") == 1
        assert (page.index("ID for support:") < page.index("<details")) is is_in_sight


def test_what_the_default_is_for_is_said_where_there_are_several(client: Client, maya: Any) -> None:
    linked(maya)
    assert "this site uses your default" not in text(client.get(ACCOUNTS))
    linked(maya)
    assert "If you don't choose an account, this site uses your default account." in text(client.get(ACCOUNTS))
