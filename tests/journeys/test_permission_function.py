"""``ONTRAPORT_MAY`` beyond the pages: the button, the admin, e-mails; and what happens where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core import mail
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client, override_settings
from django.urls import include, path

from ontraport_connect.models import OntraportAccount, OntraportAttempt, Status
from ontraport_connect.staff import notices
from tests.support import ontraport
from tests.support.linked import key_account, person
from tests.support.mail_server import mailer
from tests.support.notices import REDIRECT_URI, broken_account, let_pauses_pass
from tests.support.pages import ACCOUNTS, CONNECT, linked, text, url
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

ADMIN = "/admin/ontraport_connect/ontraportaccount/"


def page_with_button(request: HttpRequest) -> HttpResponse:
    source = "{% load ontraport_connect %}<p>The adopter's page</p>{% connect_ontraport %}"
    return HttpResponse(engines["django"].from_string(source).render({}, request))


urlpatterns = [path("shown/", page_with_button), path("", include("tests.urls"))]


def staff_of_acme(request: Any, tenant: str | None, action: str) -> bool:
    return tenant == "acme" and request.user.get_username() == "support"


def raising(request: HttpRequest, tenant: str | None, action: str) -> bool:
    raise LookupError("canary")


def forgetful(request: HttpRequest, tenant: str | None, action: str) -> Any:
    """A function that forgot to return."""


@pytest.fixture
def broken(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[None]:
    with override_settings(
        **ontraport.settings_for(sandbox.url), ONTRAPORT_TENANT="tests.support.pages.tenant_of_request"
    ):
        yield


FAULTY = pytest.mark.parametrize(
    "faulty", [raising, forgetful, f"{__name__}.missing"], ids=["raises", "forgets", "missing"]
)
NORTH = {"X-Tenant": "north"}


@FAULTY
def test_where_it_fails_nothing_is_done_and_the_log_says_why(
    client: Client, sandbox: Sandbox, broken: None, caplog: pytest.LogCaptureFixture, faulty: Any
) -> None:
    maya = get_user_model().objects.create_superuser("maya")
    client.force_login(maya)
    callback = ontraport.consent(client.post(CONNECT, headers=NORTH)["Location"])
    account = linked(maya, tenant="north", label="untouched")
    attempts = OntraportAttempt.objects.count()
    with override_settings(ONTRAPORT_MAY=faulty):
        for response in (
            client.get(ACCOUNTS, headers=NORTH),
            client.get(CONNECT, headers=NORTH),
            client.post(CONNECT, headers=NORTH),
            *(client.post(url(name, account), headers=NORTH) for name in ("reconnect", "rename", "disconnect")),
            client.get(callback.partition("8000")[2], headers=NORTH),
        ):
            assert response["Location"] == "/ontraport/problem/misconfigured/"
        assert "If it keeps happening, let us know." in text(client.get("/ontraport/problem/misconfigured/"))
        page = client.get("/shown/", headers=NORTH)
        assert (page.status_code, "<form" in text(page)) == (200, False)
        assert client.post(f"{ADMIN}{account.pk}/refresh/", headers=NORTH).status_code == 403
    assert "ONTRAPORT_MAY" in caplog.text
    assert "code=" not in caplog.text
    assert OntraportAttempt.objects.count() == attempts
    assert OntraportAccount.objects.get().label == "untouched"
    assert sandbox.state()["counts"]["token:authorization_code"] == 0


@pytest.fixture
def support(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("support"))
    return client


@override_settings(ONTRAPORT_MAY=f"{__name__}.staff_of_acme")
def test_staff_manage_the_links_of_their_tenants_only(support: Client) -> None:
    own, other = (key_account(person(name), tenant=name, label=name) for name in ("acme", "borealis"))
    personal = key_account(person("maya"))
    assert support.get(ADMIN).status_code == 200
    assert 'name="label"' in text(support.get(f"{ADMIN}{own.pk}/change/"))
    for account in (other, personal):
        assert 'name="label"' not in text(support.get(f"{ADMIN}{account.pk}/change/"))
        assert support.post(f"{ADMIN}{account.pk}/change/", {"label": "x"}).status_code == 403
        assert support.post(f"{ADMIN}{account.pk}/refresh/").status_code == 403
        assert support.post(f"{ADMIN}{account.pk}/delete/", {"post": "yes"}).status_code == 403
        for action in ("refresh_now", "disconnect"):
            chosen = {"action": action, "_selected_action": [own.pk, account.pk], "post": "yes"}
            assert support.post(ADMIN, chosen).status_code == 403
    assert OntraportAccount.objects.count() == 3
    support.post(ADMIN, {"action": "disconnect", "_selected_action": [own.pk], "post": "yes"})
    assert set(OntraportAccount.objects.all()) == {other, personal}


def test_without_it_the_admin_goes_by_djangos_permissions(support: Client) -> None:
    account = key_account(person("maya"), tenant="acme")
    assert support.post(f"{ADMIN}{account.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not OntraportAccount.objects.exists()


# E-mails


ASKED: list[tuple[str, str | None, str, str, str | None]] = []


def members_only(request: Any, tenant: str | None, action: str) -> bool:
    chosen = request.session.get("workspace")
    ASKED.append((request.user.get_username(), tenant, action, request.build_absolute_uri(), chosen))
    return bool(request.user.groups.filter(name=tenant).exists())


@pytest.fixture
def mailing() -> Iterator[None]:
    ASKED.clear()
    with override_settings(
        ONTRAPORT_NOTIFY=True,
        ONTRAPORT_REDIRECT_URI=REDIRECT_URI,
        ONTRAPORT_TENANT="tests.support.pages.tenant_of_request",
        ONTRAPORT_MAY=f"{__name__}.members_only",
        **mailer("locmem"),
    ):
        yield


def test_a_tenants_mail_goes_to_a_present_member_only(mailing: None) -> None:
    maya, left = (get_user_model().objects.create_superuser(name, f"{name}@example.com") for name in ("maya", "left"))
    maya.groups.create(name="acme")
    for user in (left, maya):
        broken_account(user, tenant="acme", label="Call me at https://evil.example", ontraport_id=str(user.pk))
    assert notices.send_due_notices() == 1
    (message,) = mail.outbox
    assert message.to == ["maya@example.com"]
    assert "evil" not in f"{message.subject} {message.body}"
    address = "https://shop.example.com/"
    assert [(name, "acme", "link", address, None) for name in ("left", "maya")] == ASKED
    OntraportAccount.objects.filter(user=left).update(status=Status.CONNECTED)


def test_who_was_deactivated_is_not_asked_about(mailing: None) -> None:
    gone = get_user_model().objects.create_user("gone", "gone@example.com", is_active=False)
    broken_account(gone, tenant="acme")
    assert notices.send_due_notices() == 0
    assert ASKED == []


def test_where_it_fails_no_tenants_mail_is_sent_and_people_get_theirs(
    mailing: None, caplog: pytest.LogCaptureFixture
) -> None:
    maya = get_user_model().objects.create_superuser("maya", "maya@example.com")
    broken_account(maya, tenant="acme", label="the tenant's")
    broken_account(maya, label="her own")
    with override_settings(ONTRAPORT_MAY=raising):
        assert notices.send_due_notices() == 1
    assert "her own" in mail.outbox[0].body
    assert "ONTRAPORT_MAY raised LookupError" in caplog.text
    maya.groups.create(name="acme")
    let_pauses_pass()
    assert notices.send_due_notices() == 1


class ProjectsBackend:
    """Knows permissions on objects of its own, as many sites have one: Django's documentation asks for no more than that."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        return None

    def has_perm(self, user: Any, permission: str, obj: Any = None) -> bool:
        return obj is not None and obj.members.filter(pk=user.pk).exists()


def test_a_backend_that_knows_other_objects_than_tenants_permits_nothing_of_theirs(
    client: Client, sandbox: Sandbox, broken: None, caplog: pytest.LogCaptureFixture
) -> None:
    maya = person("maya")
    client.force_login(maya)
    account = linked(maya, tenant="north")
    backends = [f"{__name__}.ProjectsBackend", "django.contrib.auth.backends.ModelBackend"]
    with override_settings(AUTHENTICATION_BACKENDS=backends):
        assert client.get("/shown/", headers=NORTH).status_code == 200
        assert client.get(ACCOUNTS, headers=NORTH).status_code == 200
        for name in (CONNECT, url("disconnect", account)):
            assert client.post(name, headers=NORTH).status_code == 403
        assert "a backend of AUTHENTICATION_BACKENDS raised AttributeError" in caplog.text
        maya.user_permissions.add(Permission.objects.get(codename="link_ontraportaccount"))
        assert "/oauth/authorize" in client.post(CONNECT, headers=NORTH)["Location"]
    assert OntraportAccount.objects.count() == 1
