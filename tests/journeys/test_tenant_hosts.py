"""A subdomain for each tenant, and one redirect URI on a host that belongs to none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, override_settings

from ontraport_connect.models import OntraportAccount, OntraportAttempt, Status
from tests.support import ontraport
from tests.support.linked import key_account, person
from tests.support.pages import ACCOUNTS, CONNECT, KEY, linked, text, url
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

CALLBACK = "https://app.shop.example/ontraport/callback/"


def of_host(request: HttpRequest) -> str:
    """As in docs/using.md: the host's name, where the person is a member."""
    name = request.get_host().partition(".")[0]
    return name if is_member(request.user, name) else ""


def is_member(user: Any, tenant: str | None) -> bool:
    return bool(user.groups.filter(name=tenant).exists())


class TenantOfHost:
    """A middleware that sets ``request.tenant``, such as django-tenants'."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        request.tenant = request.get_host().partition(".")[0]
        return self.get_response(request)


def of_middleware(request: Any) -> str:
    return str(request.tenant) if request.tenant != "app" else ""


def may(request: HttpRequest, tenant: str | None, action: str) -> bool:
    return is_member(request.user, tenant)


def may_by_404(request: HttpRequest, tenant: str | None, action: str) -> bool:
    if not is_member(request.user, tenant):
        raise Http404
    return True


def may_by_403(request: HttpRequest, tenant: str | None, action: str) -> bool:
    if not is_member(request.user, tenant):
        raise PermissionDenied
    return True


@pytest.fixture(autouse=True)
def shop(sandbox: Sandbox, settings: Any) -> Iterator[None]:
    registered = requests.post(
        f"{sandbox.url}/oauth/register",
        json={"client_name": "Shop", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_post"},
        timeout=10,
    ).json()
    with override_settings(
        **{
            **ontraport.settings_for(sandbox.url),
            "ONTRAPORT_CLIENT_ID": registered["client_id"],
            "ONTRAPORT_CLIENT_SECRET": registered["client_secret"],
            "ONTRAPORT_REDIRECT_URI": CALLBACK,
        },
        ONTRAPORT_TENANT=f"{__name__}.of_host",
        SESSION_COOKIE_DOMAIN=".shop.example",
        MIDDLEWARE=[f"{__name__}.TenantOfHost", *settings.MIDDLEWARE],
    ):
        yield


def member(name: str, *tenants: str) -> Any:
    user = person(name)
    user.groups.add(*(Group.objects.get_or_create(name=tenant)[0] for tenant in tenants))
    user.user_permissions.add(Permission.objects.get(codename="link_ontraportaccount"))
    return user


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def on(tenant: str) -> dict[str, Any]:
    return {"headers": {"host": f"{tenant}.shop.example"}, "secure": True}


def press(browser: Client, tenant: str, **fields: str) -> str:
    response = browser.post(CONNECT, fields, **on(tenant))
    assert response.status_code == 302, text(response)
    return str(response["Location"])


def come_back(browser: Client, callback: str) -> str:
    parts = urlsplit(callback)
    assert parts.netloc == "app.shop.example"
    return str(browser.get(f"{parts.path}?{parts.query}", **on("app"))["Location"])


WAYS: dict[str, dict[str, Any]] = {
    "Django's permissions": {},
    "ONTRAPORT_MAY": {"ONTRAPORT_MAY": f"{__name__}.may"},
    "a function": {"ONTRAPORT_MAY": may},
    "404 for strangers": {"ONTRAPORT_MAY": f"{__name__}.may_by_404"},
    "403 for strangers": {"ONTRAPORT_MAY": f"{__name__}.may_by_403"},
    "tenants by middleware": {"ONTRAPORT_MAY": may, "ONTRAPORT_TENANT": f"{__name__}.of_middleware"},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    with override_settings(**WAYS[request.param]):
        yield request.param


def test_a_member_links_for_the_tenant_and_lands_on_its_host(way: str) -> None:
    """https://github.com/omniauth/omniauth-oauth2/issues/24"""
    browser = signed_in(member("maya", "acme", "borealis"))
    callback = ontraport.consent(press(browser, "acme", next="/orders/?page=2"))
    assert come_back(browser, callback) == "https://acme.shop.example/orders/?page=2"
    assert OntraportAccount.objects.get().tenant == "acme"
    page = browser.get(ACCOUNTS, **on("acme"))
    assert "Harbour Street Coffee is connected." in text(page)
    assert (
        come_back(browser, ontraport.consent(press(browser, "borealis"))) == f"https://borealis.shop.example{ACCOUNTS}"
    )
    assert set(OntraportAccount.objects.values_list("tenant", flat=True)) == {"acme", "borealis"}


def test_a_reconnect_comes_back_to_the_link_of_the_tenant() -> None:
    maya = member("maya", "acme")
    browser = signed_in(maya)
    come_back(browser, ontraport.consent(press(browser, "acme")))
    account = OntraportAccount.objects.get()
    OntraportAccount.objects.update(status=Status.NEEDS_RECONNECT)
    started = browser.post(url("reconnect", account), **on("acme"))["Location"]
    assert come_back(browser, ontraport.consent(started)) == f"https://acme.shop.example{ACCOUNTS}"
    assert OntraportAccount.objects.get().status == Status.CONNECTED


def test_two_tabs_for_two_tenants_are_finished_in_the_other_order() -> None:
    browser = signed_in(member("maya", "acme", "borealis"))
    acme, borealis = press(browser, "acme", next="/a/"), press(browser, "borealis", next="/b/")
    assert come_back(browser, ontraport.consent(borealis, username="agency")) == "https://borealis.shop.example/b/"
    assert come_back(browser, ontraport.consent(acme)) == "https://acme.shop.example/a/"
    rows = OntraportAccount.objects.order_by("tenant").values_list("tenant", "ontraport_id")
    assert list(rows) == [("acme", "187157"), ("borealis", "204211")]


def test_who_left_the_tenant_while_at_ontraport_links_nothing_for_it(way: str, sandbox: Sandbox) -> None:
    maya = member("maya", "acme")
    browser = signed_in(maya)
    callback = ontraport.consent(press(browser, "acme"))
    maya.groups.clear()
    code = "switched_tenant" if way == "Django's permissions" else "not_permitted"
    assert come_back(browser, callback) == f"https://acme.shop.example/ontraport/problem/{code}/"
    assert sandbox.state()["counts"]["token:authorization_code"] == 0
    assert not OntraportAccount.objects.exists()


def test_who_lost_the_permission_while_at_ontraport_links_nothing(sandbox: Sandbox) -> None:
    maya = member("maya", "acme")
    browser = signed_in(maya)
    callback = ontraport.consent(press(browser, "acme"))
    maya.user_permissions.clear()
    assert come_back(browser, callback) == "https://acme.shop.example/ontraport/problem/not_permitted/"
    assert sandbox.state()["counts"]["token:authorization_code"] == 0


def test_who_denies_reads_so_on_the_tenants_host_and_starts_again_there() -> None:
    browser = signed_in(member("maya", "acme"))
    callback = ontraport.consent(press(browser, "acme", next="/orders/"), allow=False)
    there = come_back(browser, callback)
    assert there == "https://acme.shop.example/ontraport/problem/denied/"
    page = text(browser.get(urlsplit(there).path, **on("acme")))
    assert "You didn&#x27;t allow access" in page
    assert "/ontraport/connect/?next=%2Forders%2F" in page


def test_who_was_signed_out_reads_so_on_the_tenants_host() -> None:
    browser = signed_in(member("maya", "acme"))
    callback = ontraport.consent(press(browser, "acme"))
    browser.cookies[settings.SESSION_COOKIE_NAME] = ""
    assert come_back(browser, callback) == "https://acme.shop.example/ontraport/problem/signed_out/"


def test_another_persons_answer_is_refused_whatever_tenants_they_have(way: str) -> None:
    browser = signed_in(member("maya", "acme"))
    callback = ontraport.consent(press(browser, "acme"))
    browser.force_login(member("tomas", "acme"))
    assert come_back(browser, callback) == "https://acme.shop.example/ontraport/problem/other_owner/"
    assert not OntraportAccount.objects.exists()


def test_a_tenant_that_only_the_middleware_knows_needs_the_setting_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.of_middleware"):
        browser = signed_in(member("maya", "acme"))
        callback = ontraport.consent(press(browser, "acme"))
        assert come_back(browser, callback) == "https://acme.shop.example/ontraport/problem/switched_tenant/"
    assert "for tenant acme to a host where ONTRAPORT_TENANT gives none" in caplog.text
    assert "ONTRAPORT_MAY" in caplog.text
    assert "code=" not in caplog.text


def test_links_of_people_do_not_become_a_tenants_nor_the_other_way_round(sandbox: Sandbox) -> None:
    maya = member("maya", "acme")
    browser = signed_in(maya)
    for_tenant = ontraport.consent(press(browser, "acme"))
    with override_settings(ONTRAPORT_TENANT=None, ONTRAPORT_MAY=lambda request, tenant, action: True):
        for_person = ontraport.consent(press(browser, "acme"))
        assert come_back(browser, for_tenant).endswith("/problem/switched_tenant/")
    with override_settings(ONTRAPORT_MAY=lambda request, tenant, action: True):
        assert come_back(browser, for_person).endswith("/problem/switched_tenant/")
    assert sandbox.state()["counts"]["token:authorization_code"] == 0


def test_whoever_answers_is_led_to_no_host_that_the_session_does_not_cover() -> None:
    browser = signed_in(member("maya", "acme"))
    with override_settings(ONTRAPORT_TENANT=None):
        started = browser.post(CONNECT, headers={"host": "shop.example.evil.example"}, secure=True)["Location"]
        assert come_back(browser, ontraport.consent(started)) == ACCOUNTS


def test_a_site_whose_after_link_url_is_on_another_host_leads_there() -> None:
    browser = signed_in(member("maya", "acme"))
    with override_settings(ONTRAPORT_AFTER_LINK_URL="https://www.shop.example/welcome/"):
        assert come_back(browser, ontraport.consent(press(browser, "acme"))) == "https://www.shop.example/welcome/"


# Roles


def roles(request: Any, tenant: str | None, action: str) -> bool:
    """Maya administers acme and looks at borealis; Tomas links for borealis and does not disconnect."""
    allowed: dict[tuple[str, str | None], set[str]] = {
        ("maya", "acme"): {"link", "disconnect", "manage"},
        ("maya", "borealis"): set(),
        ("tomas", "borealis"): {"link"},
    }
    return action in allowed.get((request.user.get_username(), tenant), set())


@pytest.fixture
def by_roles() -> Iterator[None]:
    with override_settings(ONTRAPORT_MAY=f"{__name__}.roles"):
        yield


def test_a_role_in_one_tenant_is_none_in_another(by_roles: None) -> None:
    maya, tomas = member("maya", "acme", "borealis"), member("tomas", "borealis")
    rows = {name: linked(maya, tenant=name, label=f"{name}'s") for name in ("acme", "borealis")}
    browser = signed_in(maya)
    here, there = rows["acme"], rows["borealis"]
    assert "Disconnect" in text(browser.get(ACCOUNTS, **on("acme")))
    page = text(browser.get(ACCOUNTS, **on("borealis")))
    assert "borealis" in page
    assert "<form" not in page.partition("<main")[2]
    assert "You don't have permission to connect Ontraport" in text(browser.get(CONNECT, **on("borealis")))
    before = list(OntraportAccount.objects.filter(pk=there.pk).values())
    for name in ("reconnect", "rename", "make_default", "disconnect"):
        assert browser.post(url(name, there), {"label": "x"}, **on("borealis")).status_code == 403, name
    assert browser.post(CONNECT, **on("borealis")).status_code == 403
    assert browser.get(KEY, **on("borealis")).status_code == 403
    assert not OntraportAttempt.objects.exists()
    assert list(OntraportAccount.objects.filter(pk=there.pk).values()) == before
    other = signed_in(tomas)
    assert other.post(url("rename", there), {"label": "Tomas'"}, **on("borealis")).status_code == 302
    assert other.post(url("disconnect", there), **on("borealis")).status_code == 403
    assert browser.post(url("disconnect", here), **on("acme")).status_code == 302
    assert list(OntraportAccount.objects.values_list("tenant", flat=True)) == ["borealis"]


def test_personal_links_are_asked_for_without_a_tenant() -> None:
    asked: list[tuple[str | None, str]] = []

    def ask(request: HttpRequest, tenant: str | None, action: str) -> bool:
        asked.append((tenant, action))
        return action == "disconnect"

    maya = person("maya")
    account = key_account(maya)
    browser = signed_in(maya)
    with override_settings(ONTRAPORT_TENANT=None, ONTRAPORT_MAY=ask):
        assert browser.post(CONNECT, **on("acme")).status_code == 403
        assert browser.post(url("disconnect", account), **on("acme")).status_code == 302
    assert asked == [(None, "link"), (None, "disconnect")]
