"""JSON that a front end should not send, and settings that cannot be used: each has its answer, and none is a page or a 500."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection
from django.test import Client, RequestFactory, override_settings
from django.views.debug import ExceptionReporter

from ontraport_connect import pages
from ontraport_connect.models import OntraportAccount
from tests.pages.test_json_api import OPERATIONS, call, checked
from tests.support.accounts import linked, read

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unreachable")]

HALF = "a\ud800"
KEY_FORM = {"app_id": "ID-OF-A-CUSTOMER", "api_key": "THE-KEY-OF-A-CUSTOMER", "label": "the-label"}


@pytest.mark.parametrize(
    ("operation_id", "member"),
    [
        ("rename", "label"),
        ("connect_key", "label"),
        ("connect_key", "account"),
        ("connect", "next"),
        ("reconnect", "next"),
    ],
)
def test_half_of_a_surrogate_pair_is_no_text(client: Client, maya: Any, operation_id: str, member: str) -> None:
    account = linked("a", label="kept")
    body = {"app_id": "2_1_x", "api_key": "key", member: HALF}
    status, answer = call(client, operation_id, account.uid, **body)
    assert (status, answer["error"], list(answer["fields"])) == (422, "invalid", [member])
    assert read(account).label == "kept"


@pytest.mark.parametrize("made_for", [["0" * 32], 17, 0, False, {"a": 1}, "0" * 32, HALF])
@pytest.mark.parametrize("operation_id", ["disconnect", "make_default", "rename"])
def test_a_mark_that_is_no_text_is_another_tenants(
    client: Client, maya: Any, operation_id: str, made_for: object
) -> None:
    account = linked("a", label="kept")
    assert call(client, operation_id, account.uid, made_for=made_for) == (409, {"error": "tenant_switched"})
    assert read(account).label == "kept"


@pytest.mark.parametrize("made_for", [None, ""])
def test_no_mark_is_for_any_tenant(client: Client, maya: Any, made_for: object) -> None:
    assert call(client, "rename", linked("a").uid, made_for=made_for)[0] == 200


def failing(request: object, tenant: object, action: str) -> bool:
    raise LookupError


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS))
def test_a_permission_that_cannot_be_asked_is_said_in_json(
    client: Client, maya: Any, caplog: pytest.LogCaptureFixture, operation_id: str
) -> None:
    account = linked("a", label="kept")
    with override_settings(ONTRAPORT_MAY=failing):
        assert call(client, operation_id, account.uid) == (503, {"error": "misconfigured"})
    assert any(record.levelname == "CRITICAL" and "ONTRAPORT_MAY" in record.message for record in caplog.records)
    assert read(account).label == "kept"


def no_tenant_for_them(request: Any) -> str:
    raise PermissionDenied


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS))
def test_a_person_who_has_no_tenant_here_is_told_so_in_json(client: Client, maya: Any, operation_id: str) -> None:
    account = linked("a", label="kept")
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.no_tenant_for_them"):
        assert call(client, operation_id, account.uid) == (403, {"error": "not_permitted"})
    assert read(account).label == "kept"


@pytest.mark.parametrize("value", [7, True, ["Shop"], {"text": "Shop"}])
@pytest.mark.parametrize(
    ("operation_id", "member"),
    [
        ("connect", "next"),
        ("reconnect", "next"),
        ("connect_key", "account"),
        ("connect_key", "label"),
        ("rename", "label"),
    ],
)
def test_what_has_to_be_a_text_and_is_none_changes_nothing(
    client: Client, maya: Any, operation_id: str, member: str, value: Any
) -> None:
    """Taken for an empty text, it would take a name away, or link another account instead of replacing a key."""
    account = linked("a", label="kept")
    status, body = call(client, operation_id, account.uid, **{member: value})
    assert (status, body["error"], list(body["fields"])) == (422, "invalid", [member])
    assert read(account).label == "kept"


def accounts_are_away(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if OntraportAccount._meta.db_table in sql:
        raise DatabaseError("the table of accounts is away")
    return execute(sql, params, many, context)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_no_error_report_shows_the_key_of_a_form(rf: RequestFactory, maya: Any, accept: str) -> None:
    request: Any = rf.post("/ontraport/connect/key/", KEY_FORM, headers={"Accept": accept})
    request.user, request.session, request._dont_enforce_csrf_checks = maya, {}, True
    with pytest.raises(DatabaseError) as raised, connection.execute_wrapper(accounts_are_away):
        pages.connect_key(request)
    reporter = ExceptionReporter(request, raised.type, raised.value, raised.tb, is_email=True)
    report = reporter.get_traceback_text() + reporter.get_traceback_html()
    assert "the-label" in report
    assert [secret for secret in ("ID-OF-A-CUSTOMER", "THE-KEY-OF-A-CUSTOMER") if secret in report] == []


def taking_away(request: Any, tenant: object, action: str) -> bool:
    """Stand for another tab, which removes the account between the view's look and its change."""
    OntraportAccount.objects.filter(label="going").delete()
    return True


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("operation_id", ["rename", "make_default"])
def test_an_account_that_was_removed_meanwhile_is_not_found(
    client: Client, maya: Any, operation_id: str, accept: str
) -> None:
    default, going = linked("a", is_default=True, label="kept"), linked("b", label="going")
    with override_settings(ONTRAPORT_MAY=taking_away):
        path = OPERATIONS[operation_id][0].replace("{uid}", str(going.uid))
        response = client.post(f"/ontraport{path}", {"label": "new"}, headers={"Accept": accept})
    assert response.status_code == 404
    if accept == "application/json":
        assert checked(operation_id, response) == {"error": "not_found"}
    assert not OntraportAccount.objects.filter(pk=going.pk).exists()
    assert (read(default).is_default, read(default).label) == (True, "kept")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize(
    "operation_id", ["connect", "connect_key", "reconnect", "rename", "make_default", "disconnect"]
)
def test_a_site_without_the_csrf_middleware_is_protected(maya: Any, operation_id: str, content_type: str) -> None:
    account, strict = linked("a", label="kept"), Client(enforce_csrf_checks=True)
    strict.force_login(maya)
    url = "/ontraport" + OPERATIONS[operation_id][0].replace("{uid}", str(account.uid))
    without = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    with override_settings(MIDDLEWARE=without):
        headers = {"Origin": "https://elsewhere.example"}
        assert strict.generic("POST", url, content_type=content_type, headers=headers).status_code == 403
        assert read(account).label == "kept"
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', strict.get("/ontraport/").content.decode())
        assert token is not None
        response = strict.post(f"/ontraport/{account.uid}/rename/", {"label": "new", "csrfmiddlewaretoken": token[1]})
    assert (response.status_code, read(account).label) == (302, "new")
