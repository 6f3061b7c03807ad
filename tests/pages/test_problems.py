"""The problem page, and what the callback leaves in session and headers."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client, override_settings

from ontraport_connect.models import Status
from ontraport_connect.pages.problems import EXPLANATIONS, SESSION_KEY
from tests.support.pages import CONNECT, linked, text, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unreachable")]


@pytest.mark.parametrize("code", [*EXPLANATIONS, "never-heard-of-it"])
def test_every_problem_is_explained_with_one_way_on(client: Client, maya: Any, code: str) -> None:
    page = text(client.get(f"/ontraport/problem/{code}/"))
    assert page.count("ontraport-primary") == 1
    assert re.search(
        r'class="ontraport-badge[^>]*>(Action needed|Problem at Ontraport|Problem on our side|Not connected)<', page
    )
    assert page.count(">Back to testserver</a>") == 1


def test_the_way_on_from_a_problem_leads_back_to_what_was_asked(client: Client, maya: Any) -> None:
    account = linked(maya, status=Status.NEEDS_RECONNECT)
    location = client.post(url("reconnect", account), {"next": "/used/"})["Location"]
    state = parse_qs(urlsplit(location).query)["state"][0]
    issuer = "http://127.0.0.1:9"
    answer = {"state": state, "iss": issuer, "error": "invalid_scope", "error_description": "<b>No</b>\r\n\u202esuch"}
    response = client.get("/ontraport/callback/", answer)
    assert response["Location"] == "/ontraport/problem/refused/"
    page = text(client.get(response["Location"]))
    assert "&lt;b&gt;No&lt;/b&gt; such" in page
    assert f"{CONNECT}?next=%2Fused%2F&amp;account={account.uid}" in page
    assert "such" not in text(client.get("/ontraport/problem/denied/"))


def test_what_is_to_be_sent_to_support_is_there_even_if_ontraport_explains_nothing(client: Client, maya: Any) -> None:
    location = client.post(CONNECT)["Location"]
    state = parse_qs(urlsplit(location).query)["state"][0]
    answer = {"state": state, "iss": "http://127.0.0.1:9", "error": "invalid_scope"}
    page = text(client.get(client.get("/ontraport/callback/", answer)["Location"]))
    assert "send us what Ontraport says here" in page
    assert '<q dir="auto">invalid_scope</q>' in page


@pytest.mark.parametrize("code", ["failed", "twice"])
def test_a_problem_of_ours_asks_once_to_try_again(client: Client, maya: Any, code: str) -> None:
    session = client.session
    session[SESSION_KEY] = {"code": code, "message": "It went wrong. Please try again.", "said": ""}
    session.save()
    page = text(client.get(f"/ontraport/problem/{code}/"))
    assert page.count("try again") == 1
    assert ("Problem on our side" in page) == (code == "failed")


def test_an_answer_to_no_attempt_leaves_no_trace_in_the_session(client: Client, maya: Any) -> None:
    before = dict(client.session.items())
    response = client.get("/ontraport/callback/", {"state": "x" * 43, "error": "access_denied"})
    assert response["Location"] == "/ontraport/problem/unknown/"
    assert dict(client.session.items()) == before
    assert SESSION_KEY not in client.session


def test_the_callback_tells_its_address_to_nobody_and_is_not_kept(client: Client) -> None:
    response = client.get("/ontraport/callback/?state=s&code=c")
    assert response["Location"] == "/ontraport/problem/signed_out/"
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    assert response["X-Frame-Options"] == "DENY"
    assert "Sign in" in text(client.get(response["Location"]))
    assert client.post("/ontraport/callback/").status_code == 405


def test_a_strict_session_cookie_is_fetched_by_one_step_on_this_site(client: Client, maya: Any) -> None:
    stranger = Client()
    with override_settings(SESSION_COOKIE_SAMESITE="Strict"):
        page = stranger.get("/ontraport/callback/", {"state": "s", "code": '"><script>', "x": "ä&b"})
        assert (
            'content="0; url=/ontraport/callback/?state=s&amp;code=%22%3E%3Cscript%3E&amp;x=%C3%A4%26b&amp;returned=1"'
            in text(page)
        )
        assert page["Referrer-Policy"] == "no-referrer"
        once = stranger.get("/ontraport/callback/?state=s&code=c&returned=1")
        assert once["Location"] == "/ontraport/problem/signed_out/"
        assert client.get("/ontraport/callback/?state=s&code=c")["Location"] == "/ontraport/problem/unknown/"


def test_a_callback_without_a_tenant_has_a_way_on(client: Client, maya: Any) -> None:
    with override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request"):
        response = client.get("/ontraport/callback/", {"state": "x" * 43, "code": "c"})
    assert response["Location"] == "/ontraport/problem/unknown/"
    assert response["Referrer-Policy"] == "no-referrer"
