"""The code of the how-to guides does what the guides say, on this app and the stand-in for Ontraport."""

from __future__ import annotations

import json
import unittest
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth import get_user_model
from django.core.serializers.json import DjangoJSONEncoder
from django.db import router
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import include, path
from django.utils import timezone

from ontraport_connect import linking, refreshing, signals
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent
from tests.support.doc_pages import DOCS, PAGES, run_blocks
from tests.support.linked import KEYS, key_account, linked_account, person
from tests.support.ontraport import settings_for
from tests.support.pages import text
from tests.support.servers import Sandbox
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

RUN = [str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS) and page.parent != DOCS]
NOT_ALONE = {"start/tutorial.md"}
"""Pages whose blocks are files that belong together; `test_tutorial.py` follows them."""


class Site:
    """The URLs of a site with these views: what ``ROOT_URLCONF`` names, without a module."""

    def __init__(self, **views: Any) -> None:
        own = [path(f"{name}/", view) for name, view in views.items()]
        self.urlpatterns = [*own, path("ontraport/", include("ontraport_connect.urls"))]


@pytest.fixture
def zoe(sandbox: Sandbox) -> Any:
    with override_settings(**settings_for(sandbox.url), ONTRAPORT_TIMEOUT=(30, 60)):
        yield person("zoe")


def signed_in(user: Any, **headers: str) -> Client:
    client = Client(headers=headers)
    client.force_login(user)
    return client


@pytest.mark.parametrize("page", sorted({*RUN} - NOT_ALONE))
def test_blocks_of_a_page_run_one_after_the_other(page: str) -> None:
    known = {name: list(getattr(signals, name).receivers) for name in vars(signals) if name.startswith("account_")}
    run_blocks(page)
    for name, receivers in known.items():
        getattr(signals, name).receivers = receivers


def test_existing_site(zoe: Any, sandbox: Sandbox) -> None:
    guide = run_blocks("how-to/existing-site.md")
    linked_account(zoe, sandbox)
    with override_settings(ROOT_URLCONF=Site(count=guide["number_of_contacts"])):
        assert int(signed_in(zoe).get("/count/").json()["count"]) > 0


def test_tenants(zoe: Any) -> None:
    guide = run_blocks("how-to/tenants.md")
    request = RequestFactory().get("/")
    request.user = zoe
    account = OntraportAccount.objects.create(user=zoe, tenant="workspace:7", access_token="a")
    assert guide["tenant_of"](SimpleNamespace(session={})) == ""
    request.session = {"workspace": 7}  # type: ignore[assignment]
    assert OntraportAccount.objects.for_owner(zoe, guide["tenant_of"](request)).get() == account
    guide["close"](7)
    assert not OntraportAccount.objects.exists()


def test_key_pairs(zoe: Any, sandbox: Sandbox) -> None:
    guide = run_blocks("how-to/key-pairs.md")
    with override_settings(ROOT_URLCONF=Site(export=guide["export"])):
        linked_account(zoe, sandbox)
        assert signed_in(zoe).get("/export/").status_code == 409
        key_account(zoe)
        assert text(signed_in(zoe).get("/export/")).count("@") == 10


def test_front_end_is_told_by_json_what_to_do(zoe: Any, sandbox: Sandbox) -> None:
    guide = run_blocks("how-to/spa-mobile.md")
    with override_settings(ROOT_URLCONF=Site(count=guide["number_of_contacts"])):
        client = signed_in(zoe, accept="application/json")
        assert Client(headers={"accept": "application/json"}).get("/count/").json() == {"error": "login_required"}
        answer = client.get("/count/")
        body = answer.json()
        assert (answer.status_code, body["error"]) == (401, "ontraport_not_connected")
        connect = client.get(body["connect_url"].partition("?")[0], {"next": "/app/"}, headers={"accept": "text/html"})
        assert 'name="next" value="/app/"' in text(connect)
        account = linked_account(zoe, sandbox)
        assert client.get("/count/").status_code == 200
        OntraportAccount.objects.filter(pk=account.pk).update(status="needs_reconnect")
        assert client.get("/count/").json()["error"] == "ontraport_reconnect_required"


def test_rest_framework(zoe: Any, sandbox: Sandbox) -> None:
    guide = run_blocks("how-to/rest-framework.md")

    class Urls:
        urlpatterns = [
            path("count/", guide["NumberOfContacts"].as_view()),
            path("count/<uuid:uid>/", guide["NumberOfContactsOf"].as_view()),
            path("ontraport/", include("ontraport_connect.urls")),
        ]

    with override_settings(ROOT_URLCONF=Urls):
        client = signed_in(zoe, accept="application/json")
        assert client.get("/count/").json()["error"] == "ontraport_not_connected"
        account = linked_account(zoe, sandbox)
        assert client.get("/count/").json() == client.get(f"/count/{account.uid}/").json()
        somebody = OntraportAccount.objects.create(user=person("yan"), access_token="a")
        assert client.get(f"/count/{somebody.uid}/").status_code == 404


def test_jinja2(zoe: Any) -> None:
    guide = run_blocks("how-to/jinja2.md")
    template = guide["environment"](autoescape=True).from_string("{{ connect_ontraport(request, next='/welcome/') }}")
    with override_settings(ROOT_URLCONF=Site(page=lambda request: HttpResponse(template.render(request=request)))):
        assert 'value="/welcome/"' in text(signed_in(zoe).get("/page/"))


def test_databases() -> None:
    guide = run_blocks("how-to/databases.md")
    with override_settings(DATABASE_ROUTERS=[guide["OntraportRouter"]()]):
        for model, database in (
            (OntraportAccount, "customers"),
            (OntraportEvent, "customers"),
            (get_user_model(), "default"),
        ):
            assert {router.db_for_read(model), router.db_for_write(model)} == {database}
            assert [name for name in ("customers", "default") if router.allow_migrate_model(name, model)] == [database]


def test_links_of_ones_own_are_moved_in_once_and_are_refreshed(strict: StrictServer) -> None:
    guide = run_blocks("how-to/moving-in.md")
    expired = timezone.now() - timedelta(minutes=1)
    tokens = {"access_token": "a.moved.0", "refresh_token": "r.moved.0", "expires_at": expired}
    link = SimpleNamespace(pk=1, user=person("zoe"), name="Zoe's shop", **tokens)
    guide["move_in_my_links"]([link])
    guide["move_in_my_links"]([link])
    account = OntraportAccount.objects.get()
    refreshing.refresh(account)
    guide["move_in_my_links"]([link])
    assert OntraportAccount.objects.get().access_token.reveal() == "a.moved.1"
    linking.unlink(account)
    guide["move_in_my_links"]([link])
    assert not OntraportAccount.objects.exists()


def test_key_pairs_of_ones_own_are_moved_in_and_tried(zoe: Any) -> None:
    guide = run_blocks("how-to/moving-in.md")
    pair = SimpleNamespace(pk=1, user=zoe, app_id=KEYS["app_id"], api_key=KEYS["access_token"])
    guide["move_in_my_key_pairs"]([pair])
    assert linking.check_key_pairs(10) == {"accepted": 1}


def test_background_jobs(zoe: Any, sandbox: Sandbox) -> None:
    Celery("guides", set_as_current=True)
    task = run_blocks("how-to/background-jobs.md")["count_contacts"]
    account = linked_account(zoe, sandbox)
    assert int(task.apply(args=[str(account.uid)]).get()["count"]) > 0
    get_user_model().objects.update(is_active=False)
    assert task.apply(args=[str(account.uid)]).get() is None


def test_own_tests() -> None:
    contacts = run_blocks("how-to/existing-site.md")["number_of_contacts"]
    case = run_blocks("how-to/own-tests.md")["ContactsTests"]
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    with override_settings(ROOT_URLCONF=Site(contacts=contacts)):
        result = suite.run(unittest.TestResult())
    assert (result.testsRun, result.errors, result.failures) == (3, [], [])


def test_personal_data_is_exported_and_deleted(zoe: Any, sandbox: Sandbox) -> None:
    guide = run_blocks("how-to/gdpr.md")
    linked_account(zoe, sandbox)
    shared = OntraportAccount.objects.create(user=zoe, tenant="workspace:7", access_token="a")
    OntraportEvent.record(shared, EventKind.LINKED)
    colleague = person("yan")
    OntraportEvent.objects.create(account_uid=shared.uid, user=colleague, kind=EventKind.RECONNECTED)
    exported = guide["ontraport_data_of"](zoe)
    assert len(exported["links"]) == 2
    assert "token" not in json.dumps(exported, cls=DjangoJSONEncoder)
    guide["forget"](zoe)
    assert OntraportAccount.objects.get() == shared
    assert [event.user for event in OntraportEvent.objects.all()] == [colleague]


def test_errors_and_waiting(zoe: Any, sandbox: Sandbox) -> None:
    account = linked_account(zoe, sandbox)
    assert int(run_blocks("reference/errors.md")["count_contacts"](account)["count"]) > 0
    assert len(run_blocks("explanation/rate-limiter.md")["contacts_or_nothing"](account)) > 5
    with override_settings(**settings_for("http://127.0.0.1:9")):
        assert run_blocks("explanation/rate-limiter.md")["contacts_or_nothing"](account) == []
