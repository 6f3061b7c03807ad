"""The authorization response: who may complete an attempt, and which state and issuer are accepted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.http import HttpRequest
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect.models import OntraportAccount, OntraportAttempt, Status
from tests.support.callbacks import CODE, assert_refused, come_back, good, move, paths, press
from tests.support.hostile_server import HostileServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_answer_to_ones_own_attempt_links(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    response = come_back(browser, good(ontraport, press(browser, next="/admin/?a=b")))
    assert (response.status_code, response["Location"]) == (302, "/admin/?a=b")
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    account = OntraportAccount.objects.get()
    assert (account.user, account.status, account.access_token.reveal()) == (maya, Status.CONNECTED, "canary-access")
    assert paths(ontraport) == ["/token"]
    assert OntraportAttempt.objects.get().used_at is not None


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
    """RFC 9207, 2.4: simple string comparison. An error from an unknown server is not shown."""
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
    assert "t come from Ontraport" in page
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


def test_who_started_is_who_completes(browser: Client, ontraport: HostileServer) -> None:
    """Also in one browser, where the next person signs in (cross-user session fixation)."""
    sent = press(browser)
    victim = Client()
    victim.force_login(get_user_model().objects.create_user("victim"))
    move(browser, victim)
    assert_refused(come_back(victim, good(ontraport, sent)), ontraport, "other_owner")
    assert "ontraport_connect.problem" not in victim.session


def test_people_are_known_by_their_id_and_never_by_their_e_mail_address(
    browser: Client, ontraport: HostileServer, maya: Any
) -> None:
    """Nor by a user name that differs only in case."""
    maya.email = "maya@shop.example"
    maya.save()
    twin = get_user_model().objects.create_user("Maya", email=maya.email)
    other = Client()
    other.force_login(twin)
    sent = press(browser)
    move(browser, other)
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
            assert_refused(response, ontraport, "switched_tenant")
            assert "ve switched workspaces" in browser.get(response["Location"]).content.decode()
        assert "ontraport_connect.problem" not in browser.session
        browser.get(reverse("ontraport_connect:callback"), parameters, headers={"X-Tenant": "north"})
    assert OntraportAccount.objects.get().tenant == "north"


def test_an_attempt_of_a_person_does_not_become_a_tenants(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    maya.is_superuser = True
    maya.save()
    parameters = good(ontraport, press(browser))
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_callback.tenant_of"):
        response = browser.get(reverse("ontraport_connect:callback"), parameters, headers={"X-Tenant": "north"})
    assert_refused(response, ontraport, "switched_tenant")


def test_an_attempt_of_a_tenant_does_not_become_a_persons(browser: Client, ontraport: HostileServer, maya: Any) -> None:
    maya.is_superuser = True
    maya.save()
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_callback.tenant_of"):
        url = browser.post(reverse("ontraport_connect:connect"), headers={"X-Tenant": "north"})["Location"]
    parameters = good(ontraport, parse_qs(urlsplit(url).query)["state"][0])
    assert_refused(come_back(browser, parameters), ontraport, "switched_tenant")


def test_an_answer_where_the_person_has_no_tenant_any_more_links_nothing(
    browser: Client, ontraport: HostileServer, maya: Any
) -> None:
    """They have left it, or ONTRAPORT_TENANT finds none at the callback's address: the attempt stays for the right one."""
    maya.is_superuser = True
    maya.save()
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_callback.tenant_of"):
        url = browser.post(reverse("ontraport_connect:connect"), headers={"X-Tenant": "north"})["Location"]
        parameters = good(ontraport, parse_qs(urlsplit(url).query)["state"][0])
        assert_refused(come_back(browser, parameters), ontraport, "switched_tenant")
        assert_refused(come_back(browser, {**parameters, "state": "x" * 43}), ontraport, "unknown")
        browser.get(reverse("ontraport_connect:callback"), parameters, headers={"X-Tenant": "north"})
    assert OntraportAccount.objects.get().tenant == "north"


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
    assert "t connect accounts here" in page
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


@pytest.mark.parametrize("name", ["connect", "reconnect", "disconnect"])
def test_nothing_is_changed_without_a_csrf_token_or_by_get(ontraport: HostileServer, maya: Any, name: str) -> None:
    account = OntraportAccount.objects.create(user=maya, access_token="canary-access", refresh_token="canary-refresh")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(maya)
    url = reverse(f"ontraport_connect:{name}", args=[] if name == "connect" else [account.uid])
    assert strict.post(url).status_code == 403
    assert strict.get(url).status_code == (200 if name == "connect" else 405)
    assert not OntraportAttempt.objects.exists()
    assert OntraportAccount.objects.get() == account
