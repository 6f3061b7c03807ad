"""The authorization response: what an attacker, a second tab, another person or a broken browser may bring to the callback."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import connection
from django.http import HttpRequest
from django.test import Client, override_settings
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ontraport_connect.linking.attempts import CLOCK_SKEW, LIFETIME, MAX_ATTEMPTS, SESSION_KEY, forget_used_states
from ontraport_connect.models import OntraportAccount, OntraportBudget, OntraportRevocation, OntraportUsedState, Status
from tests.support.hostile_server import HostileServer, KeepAlive, answer, black_hole, hostile_server
from tests.support.memory import growth_of

pytestmark = pytest.mark.django_db(transaction=True)

CODE = "canary-code-4f9a1c77d2"
TOKENS = {
    "access_token": "canary-access",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "canary-refresh",
}
CALLBACK = "https://shop.example/ontraport/callback/"
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "100"))
DEADLINE = 5.0
"""Seconds in which a callback has its page: an exchange, and the question whose account it is, each at most two."""

BACKENDS = ("db", "cache", "cached_db", "signed_cookies")


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def ontraport(server: HostileServer) -> Iterator[HostileServer]:
    """A server that gives tokens to whoever asks, so that only the app's own care stands between an attacker and a link."""
    server.behaviour = KeepAlive(answer(json.dumps(TOKENS)))
    server.requests.clear()
    endpoints = {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
    }
    with override_settings(
        ONTRAPORT_CLIENT_ID="id",
        ONTRAPORT_CLIENT_SECRET="canary-secret",
        ONTRAPORT_ENDPOINTS=endpoints,
        ONTRAPORT_REDIRECT_URI=CALLBACK,
        ONTRAPORT_MCP_URL="http://127.0.0.1:1/",
        ONTRAPORT_TIMEOUT=(1, 1),
    ):
        yield server


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya", password="demo")


@pytest.fixture
def browser(ontraport: HostileServer, maya: Any) -> Client:
    client = Client()
    client.force_login(maya)
    return client


def press(browser: Client, **data: str) -> str:
    """Press the button, and return the state that went to Ontraport."""
    response = browser.post(reverse("ontraport_connect:connect"), data)
    assert response.status_code == 302
    return parse_qs(urlsplit(response["Location"]).query)["state"][0]


def come_back(browser: Client, parameters: Mapping[str, Any]) -> Any:
    return browser.get(reverse("ontraport_connect:callback"), parameters)


def good(server: HostileServer, sent_state: str) -> dict[str, Any]:
    return {"code": CODE, "state": sent_state, "iss": server.url}


def paths(server: HostileServer) -> list[str]:
    return [request.split(b" ")[1].decode() for request in server.requests]


def assert_refused(response: Any, server: HostileServer, code: str) -> None:
    assert (response.status_code, response["Location"]) == (302, reverse("ontraport_connect:problem", args=[code]))
    assert paths(server) == []
    assert not OntraportAccount.objects.exists()


def test_an_answer_to_ones_own_attempt_links(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    response = come_back(browser, good(ontraport, press(browser, next="/admin/?a=b")))
    assert (response.status_code, response["Location"]) == (302, "/admin/?a=b")
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    account = OntraportAccount.objects.get()
    assert (account.user, account.status, account.access_token.reveal()) == (maya, Status.CONNECTED, "canary-access")
    assert paths(ontraport) == ["/token"]
    assert browser.session[SESSION_KEY] == {}


def test_the_page_after_it_has_none_of_its_parameters(browser: Client, ontraport: HostileServer) -> None:
    response = come_back(browser, good(ontraport, press(browser)))
    assert response["Location"] == reverse("ontraport_connect:accounts")
    page = browser.get(response["Location"]).content.decode()
    assert CODE not in page
    assert "canary" not in page


def test_the_verifier_is_that_of_the_challenge_and_goes_in_the_body_only(
    browser: Client, ontraport: HostileServer
) -> None:
    """RFC 7636, 4.6, on every attempt."""
    query: dict[str, str] = {}
    for _ in range(3):
        url = browser.post(reverse("ontraport_connect:connect"))["Location"]
        query = dict(parse_qsl(urlsplit(url).query))
        come_back(browser, good(ontraport, query["state"]))
        head, _, body = ontraport.requests[-1].partition(b"\r\n\r\n")
        verifier = dict(parse_qsl(body.decode()))["code_verifier"]
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        assert (query["code_challenge"], query["code_challenge_method"]) == (digest, "S256")
        assert verifier not in url
        assert verifier.encode() not in head
    assert len(query["state"]) >= 160 / 6


@pytest.mark.parametrize(
    "differences",
    [
        {"state": None},
        {"state": ""},
        {"state": "a" * 43},
        {"state": "{0} "},
        {"state": "{0}="},
        {"state": "{0}\0"},
        {"state": ["{0}", "{0}"]},
        {"state": ["", "{0}"]},
        {"state": None, "state[]": "{0}"},
        {"code": [CODE, CODE]},
        {"code": [CODE, "other"]},
        {"iss": ["{1}", "{1}"]},
        {"iss": ["{1}", "https://evil.example"]},
        {"error": ["access_denied", "server_error"]},
    ],
    ids=str,
)
def test_a_state_that_is_not_this_browsers_or_anything_repeated_changes_nothing(
    browser: Client, ontraport: HostileServer, differences: Mapping[str, Any]
) -> None:
    """RFC 6749, 3.1 and 10.12."""
    sent = press(browser)
    before = dict(browser.session)
    parameters = {**good(ontraport, sent), **differences}
    filled = {
        name: [each.format(sent, ontraport.url) for each in ([value] if isinstance(value, str) else value)]
        for name, value in parameters.items()
        if value is not None
    }
    response = come_back(browser, filled)
    assert_refused(response, ontraport, "unknown")
    assert dict(browser.session) == before
    assert response.cookies == {}


LOOK_ALIKES = [
    "",
    "https://evil.example",
    "{0}/",
    "{0}#",
    "{0}?",
    " {0}",
    "{0} ",
    "{0}\0",
    "{0}.",
    "{upper}",
    "{0}:443",
    "{0}/../",
    "{0}%2F",
    "https:{path}",
    "//{host}",
    "http://user@{host}",
    "http://%31%32%37.0.0.1:{port}",
    "http://127.1:{port}",
    "http://localhost:{port}",
    "http://127.0.0.1:0{port}",
    "http://127.0.0.1",
    "null",
]


@pytest.mark.parametrize("issuer", [None, *LOOK_ALIKES], ids=repr)
@pytest.mark.parametrize("kind", ["code", "error"])
def test_an_issuer_that_is_not_ontraport_to_the_letter_is_refused_before_the_code_is_sent(
    browser: Client, ontraport: HostileServer, issuer: str | None, kind: str
) -> None:
    """RFC 9207, 2.4: simple string comparison; the error of an unknown server is not shown."""
    parts = urlsplit(ontraport.url)
    parameters = good(ontraport, press(browser)) | (
        {"error": "x", "error_description": "canary"} if kind == "error" else {}
    )
    del parameters["iss"]
    if issuer is not None:
        parameters["iss"] = issuer.format(
            ontraport.url,
            upper=ontraport.url.replace("http", "HTTP"),
            host=parts.netloc,
            port=parts.port,
            path=f"//{parts.netloc}",
        )
    response = come_back(browser, parameters)
    assert_refused(response, ontraport, "issuer")
    page = browser.get(response["Location"]).content.decode()
    assert "did not come from Ontraport" in page
    assert "canary" not in page


def test_where_the_server_has_no_issuer_none_is_asked_for(browser: Client, ontraport: HostileServer) -> None:
    endpoints = dict.fromkeys(("authorization_endpoint", "token_endpoint"), f"{ontraport.url}/token")
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
        come_back(browser, {"code": CODE, "state": press(browser)})
    assert OntraportAccount.objects.exists()


def test_an_attempt_of_another_browser_is_unknown_here(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    """RFC 9700, 4.7: the attacker's answer in the victim's browser."""
    attacker = Client()
    attacker.force_login(get_user_model().objects.create_user("mallory"))
    assert_refused(come_back(browser, good(ontraport, press(attacker))), ontraport, "unknown")
    second = Client()
    second.force_login(maya)
    assert_refused(come_back(second, good(ontraport, press(browser))), ontraport, "unknown")


def move(attempts: Any, browser: Client) -> None:
    """Put the attempts of one session into another."""
    session = browser.session
    session[SESSION_KEY] = attempts
    session.save()


def test_who_started_is_who_completes(browser: Client, ontraport: HostileServer) -> None:
    """Even where a session is carried over from one person to the next: cross-user session fixation."""
    sent = press(browser)
    victim = Client()
    victim.force_login(get_user_model().objects.create_user("victim"))
    move(browser.session[SESSION_KEY], victim)
    assert_refused(come_back(victim, good(ontraport, sent)), ontraport, "other_owner")
    assert "ontraport_connect.problem" not in victim.session


def test_people_are_known_by_their_id_and_never_by_their_e_mail_address(
    browser: Client, ontraport: HostileServer, maya: Any
) -> None:
    """Nor by a name that differs in case only."""
    maya.email = "maya@shop.example"
    maya.save()
    twin = get_user_model().objects.create_user("Maya", email=maya.email)
    other = Client()
    other.force_login(twin)
    sent = press(browser)
    move(browser.session[SESSION_KEY], other)
    assert_refused(come_back(other, good(ontraport, sent)), ontraport, "other_owner")
    account = OntraportAccount.objects.create(user=maya, label="Harbour Street Coffee")
    for name in ("reconnect", "disconnect", "rename", "make_default"):
        assert other.post(reverse(f"ontraport_connect:{name}", args=[account.uid])).status_code == 404
    assert "Harbour" not in other.get(reverse("ontraport_connect:accounts")).content.decode()
    assert "Harbour" in browser.get(reverse("ontraport_connect:accounts")).content.decode()


def tenant_of(request: HttpRequest) -> str:
    return request.headers.get("X-Tenant", "")


def test_an_attempt_of_another_tenant_is_refused(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    maya.is_superuser = True
    maya.save()
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_callback.tenant_of"):
        url = browser.post(reverse("ontraport_connect:connect"), headers={"X-Tenant": "north"})["Location"]
        parameters = good(ontraport, parse_qs(urlsplit(url).query)["state"][0])
        for tenant in ("south", "North"):
            response = browser.get(reverse("ontraport_connect:callback"), parameters, headers={"X-Tenant": tenant})
            assert_refused(response, ontraport, "other_owner")
        browser.get(reverse("ontraport_connect:callback"), parameters, headers={"X-Tenant": "north"})
    assert OntraportAccount.objects.get().tenant == "north"


def test_an_attempt_of_a_person_does_not_become_a_tenants(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    maya.is_superuser = True
    maya.save()
    parameters = good(ontraport, press(browser))
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_callback.tenant_of"):
        response = browser.get(reverse("ontraport_connect:callback"), parameters, headers={"X-Tenant": "north"})
    assert_refused(response, ontraport, "other_owner")


def test_who_may_not_link_for_the_tenant_any_more_links_nothing(
    browser: Client, ontraport: HostileServer, maya: Any
) -> None:
    maya.user_permissions.add(Permission.objects.get(codename="link_ontraportaccount"))
    north = {"X-Tenant": "north"}
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_callback.tenant_of"):
        url = browser.post(reverse("ontraport_connect:connect"), headers=north)["Location"]
        parameters = good(ontraport, parse_qs(urlsplit(url).query)["state"][0])
        maya.user_permissions.clear()
        response = browser.get(reverse("ontraport_connect:callback"), parameters, headers=north)
        assert_refused(response, ontraport, "not_permitted")
        page = browser.get(response["Location"], headers=north).content.decode()
    assert "You may not connect accounts here" in page
    assert response["Referrer-Policy"] == "no-referrer"


def tenant_object(request: HttpRequest) -> object:
    return request.user


def test_a_tenant_that_is_no_id_is_the_operators_to_mend(browser: Client, ontraport: HostileServer) -> None:
    parameters = good(ontraport, press(browser))
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_callback.tenant_object"):
        assert_refused(come_back(browser, parameters), ontraport, "misconfigured")


def test_who_signed_out_meanwhile_links_nothing(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    browser.logout()
    response = come_back(browser, good(ontraport, sent))
    assert_refused(response, ontraport, "signed_out")
    assert browser.get(response["Location"]).status_code in {200, 302}


def test_who_was_deactivated_meanwhile_links_nothing(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    sent = press(browser)
    maya.is_active = False
    maya.save()
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "signed_out")


@pytest.mark.parametrize("seconds", [-601, -6000, 3600])
def test_an_attempt_ends_after_ten_minutes(browser: Client, ontraport: HostileServer, seconds: float) -> None:
    sent = press(browser)
    attempts = browser.session[SESSION_KEY]
    attempts[sent]["started"] = time.time() + seconds
    move(attempts, browser)
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "expired")


def test_the_clock_of_another_web_server_may_be_a_little_behind(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    attempts = browser.session[SESSION_KEY]
    attempts[sent]["started"] = time.time() + CLOCK_SKEW - 5
    move(attempts, browser)
    assert come_back(browser, good(ontraport, sent))["Location"] == "/ontraport/"


def test_an_attempt_counts_once_even_when_the_session_comes_back(browser: Client, ontraport: HostileServer) -> None:
    """A cookie session can be played back by whoever has a copy of it."""
    sent = press(browser)
    kept = browser.session[SESSION_KEY]
    come_back(browser, good(ontraport, sent))
    move(kept, browser)
    response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["used"])
    assert paths(ontraport) == ["/token"]


def test_used_states_are_forgotten_when_they_could_not_come_back_any_more(
    browser: Client, ontraport: HostileServer
) -> None:
    come_back(browser, good(ontraport, press(browser)))
    forget_used_states()
    used = OntraportUsedState.objects.get()
    assert str(used).startswith("used ")
    OntraportUsedState.objects.update(at=used.at - timedelta(seconds=2 * LIFETIME + 1))
    forget_used_states()
    assert not OntraportUsedState.objects.exists()


def test_several_tabs_work_in_any_order(browser: Client, ontraport: HostileServer) -> None:
    tabs = [press(browser, next=f"/tab/{number}/") for number in range(4)]
    for number in (2, 0, 3, 1):
        assert come_back(browser, good(ontraport, tabs[number]))["Location"] == f"/tab/{number}/"
    assert paths(ontraport) == ["/token"] * 4


def test_of_many_attempts_the_last_eight_are_kept(browser: Client, ontraport: HostileServer) -> None:
    tabs = [press(browser) for _ in range(10)]
    assert len(browser.session[SESSION_KEY]) == MAX_ATTEMPTS
    assert_refused(come_back(browser, good(ontraport, tabs[1])), ontraport, "unknown")
    assert come_back(browser, good(ontraport, tabs[2]))["Location"] == reverse("ontraport_connect:accounts")


def test_an_attempt_that_another_version_of_this_app_kept_is_unknown(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    attempts = browser.session[SESSION_KEY]
    attempts[sent]["added"] = "later"
    move(attempts, browser)
    assert_refused(come_back(browser, good(ontraport, sent)), ontraport, "unknown")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("access_denied", "denied"),
        ("server_error", "unavailable"),
        ("temporarily_unavailable", "unavailable"),
        ("invalid_scope", "refused"),
        ("unauthorized_client", "refused"),
        ("<script>", "refused"),
        ("a" * 100_000, "refused"),
    ],
    ids=lambda value: value[:20],
)
def test_an_error_wins_over_a_code_beside_it(browser: Client, ontraport: HostileServer, error: str, code: str) -> None:
    parameters = {**good(ontraport, press(browser)), "error": error}
    assert_refused(come_back(browser, parameters), ontraport, code)


def test_parameters_without_a_value_count_as_absent(browser: Client, ontraport: HostileServer) -> None:
    """RFC 6749, 3.1."""
    come_back(browser, {**good(ontraport, press(browser)), "error": "", "error_description": "canary"})
    assert OntraportAccount.objects.exists()


@pytest.mark.parametrize("code", ["", "a" * 4097, "co\nde", "cöde", "\0", "co\u202ede"], ids=repr)
def test_a_code_that_is_none_is_not_sent(browser: Client, ontraport: HostileServer, code: str) -> None:
    assert_refused(come_back(browser, {**good(ontraport, press(browser)), "code": code}), ontraport, "incomplete")


def test_what_the_error_says_is_shown_escaped_and_cut_and_its_uri_is_no_link(
    browser: Client, ontraport: HostileServer
) -> None:
    said = "<script>alert(1)</script>\u202e\0" + "x" * 1000
    parameters = {"state": press(browser), "iss": ontraport.url, "error": "x", "error_description": said}
    response = come_back(browser, {**parameters, "error_uri": "https://evil.example/canary"})
    page = browser.get(response["Location"]).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "\u202e" not in page
    assert "evil.example" not in page
    assert 100 < len(max(re.findall("x+", page), key=len)) <= 200


def test_an_error_without_a_state_of_ours_leaves_no_trace(browser: Client, ontraport: HostileServer) -> None:
    press(browser)
    before = dict(browser.session)
    described = {"error": "x", "error_description": "canary", "state": "a" * 43}
    for parameters in ({"error": "access_denied"}, described):
        response = come_back(browser, {**parameters, "iss": ontraport.url})
        assert_refused(response, ontraport, "unknown")
        page = browser.get(response["Location"])
        assert "canary" not in page.content.decode()
        assert list(get_messages(page.wsgi_request)) == []
    assert dict(browser.session) == before


@pytest.mark.parametrize(
    "name", ["code", "state", "iss", "error", "error_description", "error_uri", "unknown", "next", "returned"]
)
@pytest.mark.parametrize(
    "value",
    ["x" * 2**20, "\0" * 50, "\u202e\u2066\u200b", "\ud800", "%00%0d%0a", "' OR 1=1--", "{{ 7*7 }}"],
    ids=lambda value: repr(value)[:20],
)
def test_no_value_is_a_server_error(browser: Client, ontraport: HostileServer, name: str, value: str) -> None:
    encoded = value.encode(errors="surrogatepass")
    for parameters in ({name: encoded}, {**good(ontraport, press(browser)), name: encoded}):
        response = come_back(browser, parameters)
        assert response.status_code in {302, 400}
        assert response.headers.get("Location", "/").startswith("/ontraport/")


NAMES = ("code", "state", "iss", "error", "error_description", "error_uri", "x")
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["STATE", "ISSUER", "access_denied"]
)


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(VALUES, max_size=3), max_size=7))
@settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=DEADLINE),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_callback_is_a_server_error_or_a_wrong_link(
    browser: Client, ontraport: HostileServer, parameters: dict[str, list[str]]
) -> None:
    is_linked(browser, ontraport, parameters)


def is_linked(browser: Client, ontraport: HostileServer, parameters: Mapping[str, list[str]]) -> bool:
    """Tell whether a callback made a link, and then a right one; ``STATE`` and ``ISSUER`` stand for those of an attempt of its own."""
    known = {"STATE": press(browser), "ISSUER": ontraport.url}
    filled = {name: [known.get(value, value) for value in values] for name, values in parameters.items()}
    before = OntraportAccount.objects.count()
    response = come_back(browser, filled)
    assert response.status_code == 302
    assert response["Location"].startswith("/ontraport/")
    linked = OntraportAccount.objects.count() - before
    given = {name: values for name, values in filled.items() if values}
    is_answer = given.get("state") == [known["STATE"]] and given.get("iss") == [ontraport.url]
    assert not linked or (is_answer and len(given.get("code", [])) == 1 and not any(given.get("error", [])))
    return bool(linked)


def generated(chance: random.Random) -> dict[str, list[str]]:
    """An answer with one thing or several done to it: a parameter lost, repeated, exchanged for another or for noise."""
    parameters = {"code": [CODE], "state": ["STATE"], "iss": ["ISSUER"]}
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        noise = "".join(chr(chance.randrange(1, 0xD800)) for _ in range(chance.choice((0, 1, 20, 2000))))
        value = chance.choice((noise, noise, "STATE", "ISSUER", CODE, "access_denied", "\0", "a" * 43))
        name = chance.choice(NAMES)
        parameters[name] = chance.choice(([], [value], [*parameters.get(name, []), value]))
    return parameters


def test_thousands_of_generated_callbacks_cost_neither_time_nor_memory(
    browser: Client, ontraport: HostileServer
) -> None:
    """``HYPOTHESIS_EXAMPLES`` of them; Hypothesis itself, which remembers what it has tried, is left out of the measurement."""
    chance = random.Random(7)
    linked, slowest = 0, 0.0

    def come(count: int) -> None:
        nonlocal linked, slowest
        for _ in range(count):
            started = time.monotonic()
            linked += is_linked(browser, ontraport, generated(chance))
            slowest = max(slowest, time.monotonic() - started)
            ontraport.requests.clear()

    come(50 + EXAMPLES // 20)
    linked, slowest = 0, 0.0
    grown = growth_of(lambda: come(EXAMPLES))
    print(f"{EXAMPLES} callbacks, {linked} links, all of them right, the slowest {slowest:.3f} s, {grown:+.1f} MB")
    assert linked
    assert slowest < DEADLINE
    assert grown < 20


REDIRECTS = [
    "https://evil.example", "http://evil.example/", "//evil.example", "///evil.example", "////evil.example/", "/\\evil.example",
    "\\\\evil.example", "\\/evil.example", "/\\/evil.example", "/\t/evil.example", "/\n/evil.example", "/\r\n/evil.example",
    "\t//evil.example", " //evil.example", "\x00//evil.example", "/\x00/evil.example", "//evil.example/..", "/..//evil.example",
    "/.//evil.example", "//evil.example\\@shop.example", "//shop.example@evil.example", "https:evil.example", "https:/evil.example",
    "https:///evil.example", "https:\\\\evil.example", "HTTPS://evil.example", "hTtP:evil.example", "javascript:alert(1)",
    "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "javascript://%0aalert(1)", "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)", "file:///etc/passwd", "ftp://evil.example", "blob:https://evil.example/x", "about:blank", "//[::1]/",
    "//127.0.0.1", "//2130706433", "//evil%2eexample", "//evil\u3002example", "//\u2460vil.example", "/\u2028/evil.example",
    "\u2028//evil.example", "\ufeff//evil.example", "\u00a0//evil.example", "\u3000//evil.example", "//evil.example:80", "//:80",
    "//", "///", "http://", "https://shop.example.evil.example", "?//evil.example", "#//evil.example", "@evil.example",
    ".evil.example", "evil.example", "..//evil.example", "mailto:a@evil.example", "/" + "a" * 5000, "%2f%2fevil.example",
]  # fmt: skip


def test_sixty_ways_to_lead_elsewhere_stay_here(browser: Client, ontraport: HostileServer) -> None:
    assert len(REDIRECTS) >= 60
    left = []
    for target in REDIRECTS:
        OntraportBudget.objects.all().delete()  # one person exchanges fewer codes than this in ten minutes, and has fewer accounts
        OntraportAccount.objects.all().delete()
        location = come_back(browser, good(ontraport, press(browser, next=target)))["Location"]
        if location not in {"/ontraport/", target} or (location == target and not stays(target)):
            left.append((target, location))
    assert left == []


def stays(target: str) -> bool:
    """Read a redirect target as browsers do, which take a backslash for a slash and drop control characters."""
    seen = re.sub(r"[\x00-\x20]", "", target).replace("\\", "/")
    return seen.startswith("/") and not seen.startswith("//")


@override_settings(ALLOWED_HOSTS=["*"], USE_X_FORWARDED_HOST=True)
def test_no_host_header_changes_a_redirect_uri_that_is_set(browser: Client, ontraport: HostileServer) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    url = browser.post(reverse("ontraport_connect:connect"), headers=headers)["Location"]
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["redirect_uri"] == CALLBACK
    response = browser.get(reverse("ontraport_connect:callback"), good(ontraport, query["state"]), headers=headers)
    assert response["Location"] == "/ontraport/"
    assert dict(parse_qsl(ontraport.requests[-1].partition(b"\r\n\r\n")[2].decode()))["redirect_uri"] == CALLBACK


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_session_store_serves(ontraport: HostileServer, maya: Any, backend: str) -> None:
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{backend}"):
        browser = Client()
        browser.force_login(maya)
        sent = press(browser)
        unknown = come_back(browser, good(ontraport, "a" * 43))
        assert_refused(unknown, ontraport, "unknown")
        come_back(browser, good(ontraport, sent))
        assert OntraportAccount.objects.exists()
        assert come_back(browser, good(ontraport, sent))["Location"] == reverse(
            "ontraport_connect:problem", args=["unknown"]
        )
        assert paths(ontraport) == ["/token"]


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
def test_a_session_cookie_is_small_and_holds_nothing_secret(ontraport: HostileServer, maya: Any) -> None:
    browser = Client()
    browser.force_login(maya)
    for number in range(12):
        press(browser, next=f"/campaigns/{number}/" + hashlib.sha256(str(number).encode()).hexdigest() * 8)
    cookie = browser.cookies["sessionid"].value
    assert len(cookie) < 4000
    payload = cookie.split(":")[0]
    raw = base64.urlsafe_b64decode(payload.lstrip(".") + "===")
    readable = (zlib.decompress(raw) if payload.startswith(".") else raw).decode()
    attempts = json.loads(readable)[SESSION_KEY]
    sent = max(attempts, key=lambda key: attempts[key]["started"])
    come_back(browser, good(ontraport, sent))
    verifier = dict(parse_qsl(ontraport.requests[-1].partition(b"\r\n\r\n")[2].decode()))["code_verifier"]
    for secret in (verifier, base64.b64encode(verifier.encode()).decode(), "canary"):
        assert secret not in readable


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
def test_a_session_cookie_stays_small_after_a_problem(ontraport: HostileServer, maya: Any) -> None:
    browser = Client()
    browser.force_login(maya)
    longest = ["/" + "".join(hashlib.sha256(f"{kind}{n}".encode()).hexdigest() for n in range(22)) for kind in "ab"]
    sent = press(browser, next=longest[0])
    for _ in range(MAX_ATTEMPTS - 1):
        press(browser)
    come_back(browser, {"error": "access_denied", "state": sent, "iss": ontraport.url})
    press(browser, next=longest[1])
    assert len(browser.cookies["sessionid"].value) < 4000


def test_a_next_that_is_too_long_to_keep_is_forgotten_and_the_attempt_is_not(
    browser: Client, ontraport: HostileServer
) -> None:
    assert come_back(browser, good(ontraport, press(browser, next="/" + "a" * 1800)))["Location"] == "/ontraport/"


def test_fifty_answers_at_once_are_one_exchange(browser: Client, ontraport: HostileServer, live_server: Any) -> None:
    parameters = good(ontraport, press(browser))
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()}

    def come(number: int) -> requests.Response:
        return requests.get(
            f"{live_server.url}{reverse('ontraport_connect:callback')}",
            params=parameters,
            cookies=cookies,
            allow_redirects=False,
            timeout=30,
        )

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(come, range(50)))
    assert {each.status_code for each in answers} == {302}
    assert paths(ontraport) == ["/token"]
    assert OntraportAccount.objects.count() == 1


@contextmanager
def out_of_reach(*models: str) -> Iterator[None]:
    names = [f"ontraport_connect_{name}" for name in models]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    yield
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


@pytest.fixture
def broken(request: pytest.FixtureRequest) -> Iterator[None]:
    """Some tables out of reach, as after a migration that was forgotten."""
    with out_of_reach(*request.param):
        yield


@pytest.mark.parametrize("broken", [["ontraportevent"]], indirect=True)
def test_a_grant_that_could_not_be_saved_is_revoked_and_the_customer_gets_a_page(
    browser: Client, ontraport: HostileServer, caplog: pytest.LogCaptureFixture, broken: None
) -> None:
    response = come_back(browser, good(ontraport, press(browser)))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["failed"])
    assert paths(ontraport) == ["/token", "/revoke"]
    assert b"token=canary-refresh" in ontraport.requests[-1]
    assert "Linking failed" in caplog.text
    assert "canary" not in caplog.text


def test_a_grant_is_kept_for_revocation_while_nobody_can_tell_whether_it_is_shared(
    browser: Client, ontraport: HostileServer
) -> None:
    sent = press(browser)
    with out_of_reach("ontraportaccount"):
        response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["failed"])
    assert paths(ontraport) == ["/token"]
    assert OntraportRevocation.objects.get().refresh_token.reveal().startswith("canary-refresh")


@pytest.mark.parametrize("broken", [["ontraportusedstate"], ["ontraportrevocation"]], indirect=True)
def test_a_database_that_fails_before_the_exchange_keeps_the_code_here(
    browser: Client, ontraport: HostileServer, broken: None
) -> None:
    assert_refused(come_back(browser, good(ontraport, press(browser))), ontraport, "failed")


def test_an_exchange_that_hangs_ends_on_a_page(browser: Client, ontraport: HostileServer) -> None:
    sent = press(browser)
    ontraport.behaviour = black_hole
    with override_settings(ONTRAPORT_TIMEOUT=(0.2, 0.3)):
        response = come_back(browser, good(ontraport, sent))
    assert response["Location"] == reverse("ontraport_connect:problem", args=["unavailable"])
    assert not OntraportAccount.objects.exists()
    assert not OntraportRevocation.objects.exists()


@pytest.mark.parametrize("name", ["connect", "reconnect", "disconnect"])
def test_nothing_is_changed_without_a_csrf_token_or_by_get(ontraport: HostileServer, maya: Any, name: str) -> None:
    account = OntraportAccount.objects.create(user=maya, access_token="canary-access", refresh_token="canary-refresh")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(maya)
    url = reverse(f"ontraport_connect:{name}", args=[] if name == "connect" else [account.uid])
    assert strict.post(url).status_code == 403
    assert strict.get(url).status_code == (200 if name == "connect" else 405)
    assert SESSION_KEY not in strict.session
    assert OntraportAccount.objects.get() == account
