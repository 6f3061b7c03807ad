"""The pages as JSON: each answer is as the OpenAPI document that is shipped says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect.models import Method, OntraportAccount, Status
from ontraport_connect.pages.json_messages import Body
from tests.support import ontraport
from tests.support.accounts import linked, read
from tests.support.linked import key_account
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
DOCUMENT = json.loads((files("ontraport_connect") / "openapi.json").read_text())
OPERATIONS = {
    operation["operationId"]: (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
ANYWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    with override_settings(**ontraport.settings_for("http://127.0.0.1:9")):
        yield


@pytest.fixture
def at_sandbox(sandbox: Sandbox) -> Iterator[Sandbox]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield sandbox


def checked(operation_id: str, response: Any) -> Any:
    """Return the JSON of an answer, compared with what the document says of this operation and status."""
    documented = OPERATIONS[operation_id][2]["responses"][str(response.status_code)]
    if "$ref" in documented:
        documented = DOCUMENT["components"]["responses"][documented["$ref"].rpartition("/")[2]]
    schema = {**documented["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    assert "Accept" in response["Vary"]
    body = response.json()
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(body)
    return body


def call(client: Client, operation_id: str, uid: object = "", **body: Any) -> tuple[int, Any]:
    """Make the call as a front end does, and return status and answer."""
    path, method, _ = OPERATIONS[operation_id]
    url = "/ontraport" + path.replace("{uid}", str(uid))
    if method == "get":
        response = client.get(url, headers={"Accept": "application/json"})
    else:
        response = client.post(url, body, content_type="application/json")
    return response.status_code, checked(operation_id, response)


def test_the_document_names_the_urls_that_exist_and_each_has_json() -> None:
    named = {operation_id.removesuffix("_info") for operation_id in OPERATIONS}
    pages = {"accounts", "connect", "connect_key", "reconnect", "rename", "make_default", "disconnect"}
    assert named == pages
    for operation_id, (path, _, _) in OPERATIONS.items():
        arguments = [ANYWHERE] if "{uid}" in path else []
        url = reverse(f"ontraport_connect:{operation_id.removesuffix('_info')}", args=arguments)
        assert url == "/ontraport" + path.replace("{uid}", ANYWHERE)
    jsonschema.Draft202012Validator.check_schema({**DOCUMENT["components"]["schemas"]["Account"]})


def test_accounts(client: Client, maya: Any) -> None:
    well, ended = linked("a", label="Shop"), linked("b", status=Status.NEEDS_RECONNECT, ontraport_id="7")
    linked("theirs", user=get_user_model().objects.create_user("tomas"))
    used = timezone.now()
    OntraportAccount.objects.filter(pk=well.pk).update(last_used_at=used)
    status, body = call(client, "accounts")
    assert status == 200
    assert [(each["last_used_at"], each["linked_by"]) for each in body["accounts"]] == [
        (used.isoformat(), None),
        (None, None),
    ]
    assert [(each["uid"], each["name"], each["state"]) for each in body["accounts"]] == [
        (str(well.uid), "Shop", "well"),
        (str(ended.uid), "Ontraport 7", "ended"),
    ]
    assert body["may"] == {"link": True, "disconnect": True}
    assert not any(secret in json.dumps(body) for secret in ("a.a.0", "r.a.0"))


def test_what_the_site_asks_for(client: Client, maya: Any) -> None:
    with override_settings(ONTRAPORT_MCP_TOOLS=["get_objects", "our_own"]):
        status, body = call(client, "connect_info")
    assert (status, body["is_limited"]) == (200, True)
    assert [(use["tool"], use["reach"]) for use in body["uses"]] == [("get_objects", "reads"), ("our_own", "")]


def test_connect_gives_the_address_and_the_callback_comes_back_to_next(
    client: Client, maya: Any, at_sandbox: Sandbox
) -> None:
    status, body = call(client, "connect", next="/orders/?page=2")
    assert (status, parse_qs(urlsplit(body["url"]).query)["code_challenge_method"]) == (200, ["S256"])
    response = ontraport.come_back(client, ontraport.consent(body["url"]))
    assert response["Location"] == "/orders/?page=2"
    (account,) = OntraportAccount.objects.all()
    status, body = call(client, "accounts")
    assert [event["kind"] for event in body["accounts"][0]["history"]] == ["linked"]
    status, body = call(client, "reconnect", account.uid)
    assert ontraport.come_back(client, ontraport.consent(body["url"])).status_code == 302
    assert OntraportAccount.objects.get().version > account.version
    status, body = call(client, "disconnect", account.uid)
    assert (status, body) == (200, {"uid": str(account.uid), "grant_kept": False})
    assert call(client, "disconnect", account.uid)[0] == 200
    assert not OntraportAccount.objects.exists()


def test_a_front_end_on_another_host_of_the_site_is_sent_to_the_callbacks_host(client: Client, maya: Any) -> None:
    account = linked("a")
    with override_settings(ONTRAPORT_REDIRECT_URI="https://app.example.com/ontraport/callback/"):
        response = client.post(
            "/ontraport/connect/", {"next": "/x/"}, content_type="application/json", headers={"Host": "www.example.com"}
        )
        assert checked("connect", response)["url"] == "https://app.example.com/ontraport/connect/?next=%2Fx%2F"
        response = client.post(
            f"/ontraport/{account.uid}/reconnect/", content_type="application/json", headers={"Host": "www.example.com"}
        )
        assert str(account.uid) in checked("reconnect", response)["url"]
        response = client.post(
            "/ontraport/connect/", content_type="application/json", headers={"Host": "www.example.com"}
        )
        assert checked("connect", response)["url"] == "https://app.example.com/ontraport/connect/"


def test_a_label_and_the_default(client: Client, maya: Any) -> None:
    account, other = linked("a", is_default=True), linked("b")
    assert call(client, "rename", account.uid, label=" Shop ")[1]["label"] == "Shop"
    assert call(client, "rename", account.uid)[1]["label"] == ""
    status, body = call(client, "rename", account.uid, label="\u200b")
    assert (status, body["error"], list(body["fields"])) == (422, "invalid", ["label"])
    assert call(client, "rename", account.uid, label="Shop")[1]["label"] == "Shop"
    assert call(client, "rename", account.uid, label=None)[1]["label"] == ""
    assert call(client, "make_default", other.uid)[1]["is_default"] is True
    assert (read(account).is_default, read(other).is_default) == (False, True)


def test_a_key_pair(client: Client, maya: Any, at_sandbox: Sandbox) -> None:
    pair = {"app_id": "2_187157_sandbox", "api_key": "sandbox-key-owner"}
    status, body = call(client, "connect_key", **pair, label="Keys")
    assert (status, body["method"], body["label"]) == (201, "api_key", "Keys")
    uid = body["uid"]
    assert call(client, "reconnect", uid) == (409, {"error": "key_pair_needed"})
    assert call(client, "connect_key", **pair, account=uid)[0] == 200
    status, body = call(client, "connect_key", **{**pair, "api_key": "wrong"})
    assert (status, body["error"], bool(body["message"])) == (422, "key_refused", True)
    status, body = call(client, "connect_key", app_id="x")
    assert (status, body["error"], list(body["fields"])) == (422, "invalid", ["api_key"])
    assert call(client, "connect_key", **pair, account=ANYWHERE)[0] == 404
    assert call(client, "connect_key", **pair, account="nonsense")[0] == 404
    assert OntraportAccount.objects.get().method == Method.API_KEY


def test_linking_that_cannot_begin_says_why(
    client: Client, maya: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS="nowhere"):
        assert call(client, "connect") == (503, {"error": "misconfigured"})
    assert [record.levelname for record in caplog.records if record.name == "ontraport_connect"] == ["CRITICAL"]
    for number in range(50):
        key_account(maya, ontraport_id=str(number))
    status, body = call(client, "connect")
    assert (status, body["error"], bool(body["message"])) == (409, "too_many_accounts", True)
    status, body = call(client, "connect_key", app_id="x", api_key="y")
    assert (status, body["error"]) == (409, "too_many_accounts")


def test_an_ontraport_that_is_away_is_a_503(client: Client, maya: Any) -> None:
    status, body = call(client, "connect_key", app_id="x", api_key="y")
    assert (status, body["error"]) == (503, "unavailable")


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS))
def test_nobody_is_told_so(operation_id: str) -> None:
    assert call(Client(), operation_id, ANYWHERE) == (401, {"error": "login_required"})


@pytest.mark.parametrize("operation_id", ["reconnect", "rename", "make_default", "disconnect"])
def test_somebody_elses_account_does_not_exist(client: Client, maya: Any, operation_id: str) -> None:
    theirs = linked("theirs", user=get_user_model().objects.create_user("tomas"))
    assert call(client, operation_id, theirs.uid) == (404, {"error": "not_found"})
    assert read(theirs).label == ""


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS))
def test_without_a_csrf_token_nothing_is_done(maya: Any, operation_id: str) -> None:
    path, method, _ = OPERATIONS[operation_id]
    if method == "get":
        return
    account = linked("a")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(maya)
    url = "/ontraport" + path.replace("{uid}", str(account.uid))
    assert strict.post(url, {"label": "x"}, content_type="application/json").status_code == 403
    assert read(account).label == ""


def test_a_csrf_token_in_the_header_is_enough(maya: Any) -> None:
    account, strict = linked("a"), Client(enforce_csrf_checks=True)
    strict.force_login(maya)
    strict.get("/ontraport/")
    headers = {"X-CSRFToken": strict.cookies["csrftoken"].value}
    url = f"/ontraport/{account.uid}/rename/"
    response = strict.post(url, {"label": "x"}, content_type="application/json", headers=headers)
    assert (checked("rename", response)["label"], read(account).label) == ("x", "x")


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"text"', "[" * 100_000, "\xff"])
def test_a_body_that_is_no_object(client: Client, maya: Any, body: str) -> None:
    account = linked("a", label="kept")
    url = f"/ontraport/{account.uid}/rename/"
    response = client.generic("POST", url, body.encode("latin-1"), content_type="application/json")
    if body:
        assert (response.status_code, checked("rename", response)) == (400, {"error": "invalid_json"})
    assert read(account).label == ("kept" if body else "")


def test_json_without_a_body_is_an_empty_object(client: Client, maya: Any) -> None:
    account = linked("a", label="Shop")
    response = client.generic("POST", f"/ontraport/{account.uid}/rename/", b"", CONTENT_TYPE="application/json")
    assert checked("rename", response)["label"] == ""


def test_a_form_may_be_answered_with_json(client: Client, maya: Any) -> None:
    account = linked("a")
    url = f"/ontraport/{account.uid}/rename/"
    response = client.post(url, {"label": "x"}, headers={"Accept": "application/json"})
    assert checked("rename", response)["label"] == "x"


def test_other_methods(client: Client, maya: Any) -> None:
    response = client.delete("/ontraport/", headers={"Accept": "application/json"})
    assert (checked("accounts", response), response["Allow"]) == ({"error": "method_not_allowed"}, "GET")
    assert client.head("/ontraport/", headers={"Accept": "application/json"}).status_code == 200
    assert (
        client.get(f"/ontraport/{linked('a').uid}/rename/", headers={"Accept": "application/json"}).status_code == 405
    )


def test_browsers_get_pages_as_before(client: Client, maya: Any) -> None:
    response = client.get("/ontraport/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert response["Content-Type"].startswith("text/html")
    assert "Accept" in response["Vary"]
    assert client.get("/ontraport/")["Content-Type"].startswith("text/html")


def test_workspaces(client: Client, maya: Any) -> None:
    with override_settings(ONTRAPORT_TENANT="tests.pages.test_json_api.tenant"):
        account = linked("a", tenant="acme")
        orphan = linked("b", tenant="acme")
        OntraportAccount.objects.filter(pk=orphan.pk).update(user=None)
        seen = call(client, "accounts")[1]
        made_for = seen["made_for"]
        assert [each["linked_by"] for each in seen["accounts"]] == ["maya", None]
        assert call(client, "rename", account.uid, label="x", made_for=made_for) == (403, {"error": "not_permitted"})
        assert call(client, "connect") == (403, {"error": "not_permitted"})
        assert call(client, "rename", account.uid, made_for="another") == (409, {"error": "tenant_switched"})
    assert read(account).label == ""


def tenant(request: Any) -> str:
    return "acme"


def test_a_body_shows_nothing_of_itself() -> None:
    assert "hunter2" not in repr(Body({"api_key": "hunter2"}))
