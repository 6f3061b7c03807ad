"""Whose name the history has for what support does while it is signed in as a customer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.test import Client, override_settings

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, actor_of
from tests.support.linked import person
from tests.support.pages import linked, url

pytestmark = pytest.mark.django_db


@pytest.fixture
def support() -> Any:
    return get_user_model().objects.create_superuser("support")


def who_disconnected(session: dict[str, Any]) -> str:
    maya = person("maya")
    account = linked(maya)
    browser = Client()
    browser.force_login(maya)
    stored = browser.session
    stored.update(session)
    stored.save()
    browser.post(url("disconnect", account))
    assert not OntraportAccount.objects.exists()
    return OntraportEvent.objects.get(kind=EventKind.DISCONNECTED).actor


def test_a_person_acts_in_their_own_name() -> None:
    assert who_disconnected({"hijack_history": [], "theirs": "x"}) == "maya"


def test_the_history_says_who_is_signed_in_as_a_customer(support: Any) -> None:
    """As django-hijack, django-su and django-loginas mark a session; the first of several is who began."""
    other = person("other")
    key = str(support.pk)
    assert who_disconnected({"hijack_history": [key, str(other.pk)]}) == "support as maya"


def test_the_mark_of_django_su_is_known(support: Any) -> None:
    mark = [[str(support.pk), "django_su.backends.SuBackend"]]
    assert who_disconnected({"exit_users_pk": mark}) == "support as maya"


def test_the_mark_of_django_loginas_is_known(support: Any) -> None:
    assert who_disconnected({"loginas_from_user": f"{support.pk}:1a2b3c:signature"}) == "support as maya"


@override_settings(LOGINAS_FROM_USER_SESSION_FLAG="began_as")
def test_the_mark_of_django_loginas_may_have_another_name(support: Any) -> None:
    assert who_disconnected({"began_as": f"{support.pk}:1a2b3c:signature"}) == "support as maya"


@pytest.mark.parametrize("name", ["hijack_history", "exit_users_pk", "loginas_from_user"])
@pytest.mark.parametrize(
    "mark", ["x:y:z", "12", ["no-such-key"], [None], {"a": "b"}, 7, [["x"]], [float("inf")]], ids=repr
)
def test_a_mark_that_leads_to_nobody_stops_nothing(name: str, mark: Any) -> None:
    assert who_disconnected({name: mark}) == "somebody else as maya"


class PutsMayaInPlace:
    """As django-impersonate does: the session stays that of support."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.user = get_user_model().objects.get(username="maya")
        return self.get_response(request)


@pytest.mark.parametrize(
    ("signed_in", "actor"), [("support", "support as maya"), ("maya", "maya"), ("gone", "somebody else as maya")]
)
def test_the_history_says_whose_session_it_is_where_a_middleware_puts_somebody_else_in_place(
    support: Any, signed_in: str, actor: str
) -> None:
    account = linked(person("maya"))
    person("gone")
    browser = Client()
    browser.force_login(get_user_model().objects.get(username=signed_in))
    get_user_model().objects.filter(username="gone").delete()
    with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, f"{__name__}.PutsMayaInPlace"]):
        browser.post(url("disconnect", account))
    assert OntraportEvent.objects.get(kind=EventKind.DISCONNECTED).actor == actor


def test_a_site_can_say_itself_who_acts() -> None:
    request: Any = HttpRequest()
    request.user = person("maya")
    assert actor_of(request) == "maya"
    request.ontraport_actor = "ana of the help desk"
    assert actor_of(request) == "ana of the help desk as maya"
    request.ontraport_actor = "maya"
    assert actor_of(request) == "maya"
