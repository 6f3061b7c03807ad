"""Hostile and broken input to the callback: errors, codes, generated parameters, redirect targets, headers."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.messages import get_messages
from django.test import Client, override_settings
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ontraport_connect.models import OntraportAccount, OntraportBudget
from tests.support.callbacks import CALLBACK, CODE, assert_refused, come_back, good, press
from tests.support.hostile_server import HostileServer
from tests.support.memory import growth_of

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "50"))
DEADLINE = 5.0
"""Seconds a callback may take: the exchange and the account lookup, at most two each."""


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
    assert "<script>" not in page
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
    """Come back with ``parameters`` and tell whether a link was made, which must then be justified.

    ``STATE`` and ``ISSUER`` stand for those of a new attempt.
    """
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
    """Return a good answer with up to five mutations: a parameter removed, repeated, swapped or replaced by noise."""
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
    """Runs ``HYPOTHESIS_EXAMPLES`` callbacks, without Hypothesis, whose own memory would be measured."""
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
    """Read a redirect target as browsers do: a backslash is a slash, and control characters are dropped."""
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
