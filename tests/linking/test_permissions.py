"""What ``ONTRAPORT_MAY`` is asked, which of its answers count, and what Django's permissions say without it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, SynchronousOnlyOperation
from django.db import OperationalError
from django.http import Http404, HttpRequest
from django.test import RequestFactory, override_settings

from ontraport_connect import linking
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured


def requested(user: Any = None) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def answering(answer: Any) -> Any:
    def may(request: HttpRequest, tenant: str | None, action: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return may


@pytest.mark.parametrize(
    ("answer", "counts_as"),
    [(True, True), (False, False), (PermissionDenied(), False), (Http404(), False)],
    ids=repr,
)
def test_answers(answer: Any, counts_as: bool) -> None:
    with override_settings(ONTRAPORT_MAY=answering(answer)):
        assert linking.may(requested(), "acme", "link") is counts_as


@pytest.mark.parametrize("answer", [None, 1, "yes", [], object(), LookupError("canary"), TypeError()], ids=type)
def test_anything_else_lets_nobody_in(answer: Any) -> None:
    with override_settings(ONTRAPORT_MAY=answering(answer)), pytest.raises(OntraportMisconfigured) as raised:
        linking.may(requested(), "acme", "link")
    assert type(answer).__name__ in str(raised.value)
    assert "ONTRAPORT_MAY" in str(raised.value)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("error", [OperationalError(), SynchronousOnlyOperation()], ids=type)
def test_errors_that_are_not_the_functions_fault_stay_what_they_are(error: Exception) -> None:
    with override_settings(ONTRAPORT_MAY=answering(error)), pytest.raises(type(error)):
        linking.may(requested(), "acme", "link")


@pytest.mark.parametrize("value", ["nowhere.may", "tests.no_such", 7, "x", "tests.support.pages.ACCOUNTS"])
def test_a_setting_that_names_no_function_lets_nobody_in(value: Any) -> None:
    with override_settings(ONTRAPORT_MAY=value), pytest.raises(OntraportMisconfigured, match="ONTRAPORT_MAY"):
        linking.may(requested(), "acme", "link")


@pytest.mark.parametrize("value", [None, "", False])
def test_an_empty_setting_is_none(value: Any) -> None:
    with override_settings(ONTRAPORT_MAY=value):
        assert conf.ONTRAPORT_MAY is None


class Person:
    """A user whose permissions are given by a backend that knows objects, such as django-rules."""

    def __init__(self, *held: tuple[str, str | None]) -> None:
        self.held = held

    def has_perm(self, permission: str, obj: str | None = None) -> bool:
        return (permission.partition(".")[2], obj) in self.held


def test_without_it_permissions_are_asked_in_general_and_for_the_tenant() -> None:
    in_general = requested(Person(("link_ontraportaccount", None)))
    for_acme = requested(Person(("link_ontraportaccount", "acme"), ("delete_ontraportaccount", "acme")))
    asked = [(in_general, "acme"), (in_general, "borealis"), (for_acme, "acme"), (for_acme, "borealis")]
    assert [linking.may(*each, "link") for each in asked] == [True, True, True, False]
    assert [linking.may(*each, "disconnect") for each in asked] == [False, False, True, False]
    assert all(linking.may(requested(Person()), None, action) for action in linking.PERMISSIONS)


class Failing:
    """A user whose backend fails when it is asked with a tenant."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def has_perm(self, permission: str, obj: str | None = None) -> bool:
        if obj is None:
            return False
        raise self.error


@pytest.mark.parametrize("error", [OperationalError(), SynchronousOnlyOperation()], ids=type)
def test_errors_that_are_not_the_backends_fault_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)):
        linking.may(requested(Failing(error)), "acme", "link")


def test_a_backend_that_knows_no_tenants_permits_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert not linking.may(requested(Failing(AttributeError("canary"))), "acme", "link")
    assert "AttributeError" in caplog.text
    assert "canary" not in caplog.text


def test_a_user_without_permissions_may_nothing_for_a_tenant() -> None:
    person = requested(SimpleNamespace())
    assert not linking.may(person, "acme", "link")
    assert linking.may(person, None, "link")
