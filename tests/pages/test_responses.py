"""The responses that replace a view when no account is usable."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import RequestFactory

from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.pages import responses

requests = RequestFactory()


@pytest.mark.parametrize(
    ("accept", "wants_json"),
    [
        (None, False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        ("text/html;q=0.5, application/json", True),
        ("application/json;q=0.5, text/html", False),
        ("image/png", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_json_is_for_those_who_prefer_it(accept: str | None, wants_json: bool) -> None:
    headers = {} if accept is None else {"Accept": accept}
    assert responses.wants_json(requests.get("/", headers=headers)) is wants_json


@pytest.mark.parametrize(("method", "comes_back"), [("get", True), ("head", True), ("post", False), ("delete", False)])
def test_one_comes_back_to_a_page_that_can_be_got(method: str, comes_back: bool) -> None:
    account = OntraportAccount(uid=uuid.uuid4())
    response = responses.not_usable(getattr(requests, method)("/orders/?page=2"), account)
    query = parse_qs(urlsplit(response["Location"]).query)
    assert query == {"account": [str(account.uid)], **({"next": ["/orders/?page=2"]} if comes_back else {})}


@pytest.mark.parametrize(
    ("method", "back"),
    [("get", "/orders/?page=2"), ("head", "/orders/?page=2"), ("post", "/ontraport/"), ("delete", "/ontraport/")],
)
def test_who_signs_in_is_not_sent_to_a_page_that_may_not_be_there_to_be_got(method: str, back: str) -> None:
    response = responses.not_signed_in(getattr(requests, method)("/orders/?page=2"))
    assert parse_qs(urlsplit(response["Location"]).query)["next"] == [back]


def test_connecting_without_a_way_back_is_a_plain_address() -> None:
    assert responses.not_usable(requests.post("/orders/"), None)["Location"] == "/ontraport/connect/"


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize(("retry_after", "header"), [(None, "60"), (0.2, "1"), (59.5, "60")])
def test_while_ontraport_is_away(accept: str, retry_after: float | None, header: str | None) -> None:
    error = OntraportUnavailable("away", retry_after=retry_after)
    response = responses.unavailable(requests.get("/", headers={"Accept": accept}), error)
    assert (response.status_code, response.get("Retry-After")) == (503, header)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_nobody_is_asked_to_repeat_what_may_have_been_carried_out(accept: str) -> None:
    error = OntraportUnavailable("cut off", code="cut", retry_after=5)
    error.outcome_unknown = True
    response = responses.unavailable(requests.get("/", headers={"Accept": accept}), error)
    assert (response.status_code, response.get("Retry-After")) == (503, None)
    text = response.content.decode()
    assert "Please try again" not in text
    assert "check that in Ontraport before you send it again" in text or '"outcome_unknown": true' in text


def test_no_cache_keeps_what_depends_on_the_person() -> None:
    request = requests.get("/orders/")
    for response in (
        responses.not_signed_in(request),
        responses.not_usable(request, None),
        responses.unavailable(request, OntraportUnavailable("away")),
    ):
        assert (response["Cache-Control"], response["Vary"]) == ("no-store", "Accept, Cookie")
