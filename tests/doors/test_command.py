"""``manage.py ontraport`` as an operator runs it, against the sandbox."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.linking import Owner, key_pairs
from ontraport_connect.models import Method, OntraportAccount, OntraportRevocation, OntraportService, Status
from ontraport_connect.refreshing import RATE_LIMITED, circuit_breaker, heartbeat
from tests.support import ontraport
from tests.support.command import Run
from tests.support.linked import linked_account, person
from tests.support.servers import PROJECT, Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)

NEW_KEY, OLD_KEY = "a-new-key-of-at-least-32-characters!", "an-old-key-of-at-least-32-characters"


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya", password="demo")


@pytest.fixture
def account(client: Client, maya: Any, sandbox: Sandbox) -> OntraportAccount:
    """An account linked at the sandbox."""
    client.force_login(maya)
    ontraport.link(client, sandbox)
    return OntraportAccount.objects.get()


def make_account(user: Any, **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(
        user=user, **{"access_token": "an-access-token", "refresh_token": "a-refresh-token", **values}
    )
    return account


def make_due(account: OntraportAccount) -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(refresh_at=timezone.now())


def living_grants(sandbox: Sandbox) -> int:
    return sum(grant["alive"] for grant in sandbox.state()["grants"])


def findings(run: Run, subject: str) -> list[tuple[str, str]]:
    return [(found["level"], found["text"]) for found in run.data["findings"] if found["subject"] == subject]


def test_check_of_a_healthy_site_ends_with_status_0(account: OntraportAccount) -> None:
    heartbeat.record_beat()
    heartbeat.record_worker()
    run = Run("check")
    assert (run.problem, run.status) == ("", 0)
    assert "FAIL" not in run.output
    assert "ok    stored secrets: all of 1 rows can be decrypted" in run.output
    assert "ok    endpoints: they match what the issuer publishes" in run.output
    assert re.search(r"^ok    background jobs: beat: seen \d+ s ago$", run.output, re.MULTILINE)
    assert run.output.endswith("\nNo problems found, 1 warning.\n")
    assert "Checking stored secrets…" in run.progress


@override_settings(ONTRAPORT_TIMEOUT=(0, 0), DEBUG=True)
def test_check_reports_wrong_settings_with_their_hint() -> None:
    run = Run("check", "--offline")
    assert run.status == 1
    assert "FAIL  settings: ONTRAPORT_TIMEOUT is not a pair" in run.output
    assert "such as (3.05, 10)" in run.text
    assert "endpoints" not in run.output


@override_settings(DEBUG=True)
def test_check_of_well_set_settings_says_so() -> None:
    assert findings(Run("check", "--offline", "--json"), "configuration") == [("ok", "OK")]


@override_settings(ONTRAPORT_ENDPOINTS="nowhere")
def test_check_calls_no_server_when_the_endpoints_are_wrong() -> None:
    ((level, text),) = findings(Run("check", "--json"), "endpoints")
    assert level == "error"
    assert "ONTRAPORT_ENDPOINTS" in text


def test_check_says_which_server_cannot_be_reached() -> None:
    with override_settings(ONTRAPORT_REST_URL=f"http://127.0.0.1:{free_port()}/1/"):
        found = findings(Run("check", "--json"), "endpoints")
    (said,) = (text for level, text in found if level == "error")
    assert said.startswith("REST: Ontraport ")


def test_check_says_which_server_answers_with_an_error(sandbox: Sandbox) -> None:
    sandbox.set(fault="500", fault_target="rest")
    found = findings(Run("check", "--json"), "endpoints")
    assert [text for level, text in found if level == "error"] == ["REST: answers with status 500"]


def test_check_warns_when_the_issuer_publishes_other_endpoints(sandbox: Sandbox) -> None:
    endpoints = {**sandbox.endpoints, "token_endpoint": f"{sandbox.url}/oauth/other"}
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
        found = findings(Run("check", "--json"), "endpoints")
    assert ("warning", "the issuer publishes a different token_endpoint than the configured one") in found


@pytest.mark.parametrize("path", ["/oauth/elsewhere", "/1/"])
def test_check_warns_when_the_issuer_publishes_nothing(sandbox: Sandbox, path: str) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS={**sandbox.endpoints, "issuer": f"{sandbox.url}{path}"}):
        found = findings(Run("check", "--json"), "endpoints")
    assert ("warning", "the issuer publishes no readable metadata") in found


class Page(http.server.BaseHTTPRequestHandler):
    """Answers every GET with an HTML page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!doctype html>")

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def test_check_warns_when_the_issuer_publishes_a_web_page(sandbox: Sandbox) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        issuer = f"http://127.0.0.1:{server.server_port}"
        with override_settings(ONTRAPORT_ENDPOINTS={**sandbox.endpoints, "issuer": issuer}):
            found = findings(Run("check", "--json"), "endpoints")
        server.shutdown()
    assert ("warning", "the issuer publishes no readable metadata") in found


def test_check_of_endpoints_without_an_issuer_compares_nothing(sandbox: Sandbox) -> None:
    endpoints = {name: sandbox.endpoints[name] for name in ("authorization_endpoint", "token_endpoint")}
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
        found = findings(Run("check", "--json"), "endpoints")
    names = ["authorization endpoint", "token endpoint", "REST", "MCP"]
    assert [text.split(":")[0] for level, text in found if level == "ok"] == names


def test_check_warns_of_endpoints_without_revocation(sandbox: Sandbox) -> None:
    warning = ("warning", "there is no revocation endpoint")
    assert warning not in findings(Run("check", "--json"), "endpoints")
    endpoints = {name: url for name, url in sandbox.endpoints.items() if name != "revocation_endpoint"}
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
        run = Run("check")
    assert "WARN  endpoints: there is no revocation endpoint\n" in run.output
    assert "the owner has to remove it there" in run.text


def test_check_warns_when_the_issuer_cannot_be_asked(sandbox: Sandbox) -> None:
    issuer = f"http://127.0.0.1:{free_port()}"
    with override_settings(ONTRAPORT_ENDPOINTS={**sandbox.endpoints, "issuer": issuer}):
        found = findings(Run("check", "--json"), "endpoints")
    (said,) = (text for level, text in found if level == "warning")
    assert said.startswith("metadata of the issuer: Ontraport ")


def test_check_names_every_secret_that_cannot_be_decrypted(maya: Any) -> None:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[OLD_KEY]):
        account = make_account(maya)
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[NEW_KEY]):
        run = Run("check", "--offline")
    assert run.status == 1
    for column in ("access_token", "refresh_token"):
        assert f"FAIL stored secrets: Ontraport account {account.uid}: the {column} cannot be decrypted" in run.text


def test_check_counts_the_rows_that_need_an_old_key(maya: Any) -> None:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[OLD_KEY]):
        make_account(maya)
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[NEW_KEY, OLD_KEY]):
        found = findings(Run("check", "--offline", "--json"), "secrets")
    assert found == [("warning", "1 of 1 rows need an old key"), ("ok", "all of 1 rows can be decrypted")]


def test_check_tells_of_a_hold() -> None:
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=60))
    ((level, text),) = findings(Run("check", "--offline", "--json"), "hold")
    assert (level, text.split(";")[0]) == ("warning", "paused: Ontraport asked this site to slow down")
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    ((level, text),) = findings(Run("check", "--offline", "--json"), "hold")
    assert (level, text) == ("error", "paused: Ontraport rejected this site's credentials (invalid_client)")


@pytest.mark.parametrize(
    ("code", "text", "hint"),
    [
        ("invalid_grant", "paused: Ontraport ended the access of many accounts in a row", "refresh --reconsider"),
        ("ca_bundle", "paused: a setting of this site is wrong (ca_bundle)", "reported under settings"),
    ],
)
def test_check_blames_the_credentials_for_nothing_else(code: str, text: str, hint: str) -> None:
    circuit_breaker.hold(OntraportMisconfigured("refused", code=code))
    (found,) = [each for each in Run("check", "--offline", "--json").data["findings"] if each["subject"] == "hold"]
    assert (found["level"], found["text"]) == ("error", text)
    assert hint in found["hint"]


def test_check_takes_missing_beat_and_workers_for_an_error_once_there_is_a_token_to_refresh(maya: Any) -> None:
    never = [("warning", "beat: never seen"), ("warning", "worker: never seen")]
    assert findings(Run("check", "--offline", "--json"), "heartbeat") == never
    make_account(maya)
    heartbeat.record_worker()
    OntraportService.objects.update(beat_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    beat, (level, text) = findings(Run("check", "--offline", "--json"), "heartbeat")
    assert beat == ("error", "beat: last seen 2026-01-02 03:04 UTC")
    assert (level, re.sub(r"\d+", "0", text)) == ("ok", "worker: seen 0 s ago")


def test_check_counts_the_accounts_that_are_overdue(maya: Any) -> None:
    def overdue(**age: float) -> list[tuple[str, str]]:
        make_account(maya, refresh_at=timezone.now() - timedelta(**age))
        return findings(Run("check", "--offline", "--json"), "overdue")

    gone = get_user_model().objects.create_user("gone", is_active=False)
    make_account(gone, refresh_at=timezone.now() - timedelta(days=1))
    make_account(maya, refresh_at=timezone.now() - timedelta(days=1), status=Status.NEEDS_RECONNECT)
    assert overdue(minutes=9) == [("ok", "no account is overdue by more than 10 minutes")]
    assert overdue(minutes=25) == [
        ("warning", "1 account is overdue by more than 10 minutes, the oldest by 25 minutes")
    ]
    assert overdue(minutes=130) == [("error", "2 accounts are overdue by more than 10 minutes, the oldest by 2 hours")]


def test_round_that_fails_gives_no_sign_of_life(account: OntraportAccount) -> None:
    make_due(account)
    with override_settings(ONTRAPORT_REFRESH_RATE="many"):
        run = Run("refresh", "--all")
    assert (run.status, run.problem) == (1, "ONTRAPORT_REFRESH_RATE is not a number. `manage.py check` says more.")
    assert not heartbeat.signs().command.is_alive


def test_refresh_of_one_account_spends_its_token(account: OntraportAccount, sandbox: Sandbox) -> None:
    before = account.access_token.reveal()
    run = Run("refresh", str(account.uid))
    account.refresh_from_db()
    assert account.access_token.reveal() != before
    assert run.output.startswith(f"Refreshed {account} ({account.uid}). Its token is valid until ")
    assert Run("refresh", str(account.uid), "--json").data["refreshed"] is True


def test_refresh_of_a_key_pair_checks_it(maya: Any, sandbox: Sandbox) -> None:
    app_id, api_key = Secret("2_187157_sandbox"), Secret("sandbox-key-owner")
    account = key_pairs.link_key_pair(Owner(user=maya, tenant=None), app_id=app_id, api_key=api_key)
    run = Run("refresh", str(account.uid))
    assert (run.status, "Ontraport accepts the API key of " in run.output) == (0, True)
    refused = make_account(maya, method=Method.API_KEY, app_id="unknown")
    run = Run("refresh", str(refused.uid), "--json")
    assert (run.status, run.data["error"]) == (75, "key_refused")


def test_refresh_all_checks_the_key_pairs_that_are_due(maya: Any) -> None:
    make_due(make_account(maya, method=Method.API_KEY, app_id="unknown"))
    assert "1 API key checked: 1 refused by Ontraport.\n" in Run("refresh", "--all").output


def test_refresh_that_fails_says_what_to_do(account: OntraportAccount, sandbox: Sandbox) -> None:
    sandbox.set(fault="500", fault_target="token", fault_count=1)
    run = Run("refresh", str(account.uid))
    assert (run.problem, run.status, run.output) == ("Ontraport answered with status 500.", 75, "")
    sandbox.revoke()
    run = Run("refresh", str(account.uid), "--json")
    assert (run.status, run.data["error"]) == (1, "invalid_grant")
    assert run.problem.endswith("The owner needs to reconnect it on the site.")


def test_unknown_account_is_wrong_usage() -> None:
    run = Run("refresh", "6f0b1a52-9f5d-4a3b-9d8e-1f1f2f3f4f5f")
    assert (run.status, "`manage.py ontraport accounts` lists them" in run.problem) == (2, True)


def test_refresh_all_does_a_round_of_beat_and_workers(account: OntraportAccount, sandbox: Sandbox) -> None:
    make_due(account)
    OntraportRevocation.objects.create(account_uid=account.uid, refresh_token="forgotten")
    before = account.access_token.reveal()
    run = Run("refresh", "--all")
    account.refresh_from_db()
    assert account.access_token.reveal() != before
    assert run.output == "1 account due: 1 refreshed.\n1 grant revoked at Ontraport.\n"
    assert run.progress == "1 account: 1 refreshed…\n"
    assert not OntraportRevocation.objects.exists()
    signs = heartbeat.signs()
    assert (signs.command.is_alive, signs.beat.is_alive, signs.worker.is_alive) == (True, False, False)
    assert Run("refresh", "--all", "--json").data == {"due": 0, "outcomes": {}, "keys": {}, "revoked": 0, "told": 0}


def test_refresh_all_of_a_refused_site_is_an_error(account: OntraportAccount) -> None:
    make_due(account)
    with override_settings(ONTRAPORT_CLIENT_SECRET="wrong"):
        run = Run("refresh", "--all")
    assert (run.status, run.output) == (1, "1 account due: 1 failed on this site's credentials.\n")
    assert run.problem.startswith("Refreshing is paused: Ontraport rejected")
    assert "Fix ONTRAPORT_CLIENT_ID and ONTRAPORT_CLIENT_SECRET" in run.problem


def test_refresh_all_of_a_site_told_to_slow_down_is_tried_later(account: OntraportAccount, sandbox: Sandbox) -> None:
    make_due(account)
    sandbox.set(fault="429", fault_target="token")
    run = Run("refresh", "--all")
    assert (run.status, run.output) == (75, "1 account due: 1 told to slow down.\n")


def test_disconnect_of_one_of_several_says_that_ontraport_keeps_the_access(
    account: OntraportAccount, sandbox: Sandbox
) -> None:
    other = linked_account(person("tomas"), sandbox)
    run = Run("disconnect", str(account.uid), "--yes")
    assert run.output == (
        f"Disconnected {account} ({account.uid})."
        " Ontraport keeps the access, because another connection on this site uses it.\n"
    )
    refreshing.refresh(other)
    assert Run("disconnect", str(other.uid), "--yes", "--json").data["grant_shared"] is False


def test_register_makes_a_client_that_ontraport_knows(client: Client, maya: Any, sandbox: Sandbox) -> None:
    with override_settings(ONTRAPORT_CLIENT_ID=None, ONTRAPORT_CLIENT_SECRET=None):
        run = Run("register", "--name", "Harbour Street Coffee")
    said, *lines = run.output.splitlines()
    environment = dict(line.split("=", 1) for line in lines)
    assert said.startswith("# Harbour Street Coffee is registered with Ontraport.")
    assert environment.keys() == {"ONTRAPORT_CLIENT_ID", "ONTRAPORT_CLIENT_SECRET", "ONTRAPORT_REDIRECT_URI"}
    with override_settings(**environment):
        client.force_login(maya)
        ontraport.link(client, sandbox)
    assert OntraportAccount.objects.get().is_connected


def test_register_of_a_public_client_has_no_secret() -> None:
    with override_settings(ONTRAPORT_CLIENT_ID=None, ONTRAPORT_CLIENT_SECRET=None):
        data = Run("register", "--public", "--json").data
    assert "ONTRAPORT_CLIENT_SECRET" not in data
    assert data["metadata"]["token_endpoint_auth_method"] == "none"
    assert data["metadata"]["application_type"] == "native"


def test_register_of_a_public_site_declares_a_web_client() -> None:
    run = Run("register", "--again", "--public", "--json", "--redirect-uri", "https://shop.example.com/callback/")
    assert run.data["metadata"]["application_type"] == "web"
    assert run.data["metadata"]["client_name"] == "shop.example.com"


@pytest.mark.parametrize(
    ("settings", "arguments", "said"),
    [
        ({}, [], "Add --again to register once more"),
        ({"ONTRAPORT_REDIRECT_URI": None}, ["--again"], "set ONTRAPORT_REDIRECT_URI, or give --redirect-uri"),
        ({}, ["--again", "--redirect-uri", "http://shop.example.com/"], "is not an https URL"),
    ],
)
def test_wrong_usage_of_register_explains_itself(settings: dict[str, Any], arguments: list[str], said: str) -> None:
    with override_settings(**settings):
        run = Run("register", *arguments)
    assert (run.status, said in run.problem) == (2, True)


def test_command_line_ends_with_the_exit_status(child_environ: Callable[..., dict[str, str]], sandbox: Sandbox) -> None:
    def status(*arguments: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "django", "ontraport", *arguments],
            check=False,
            cwd=PROJECT,
            capture_output=True,
            env=child_environ(**ontraport.settings_for(sandbox.url)),
        ).returncode

    assert [status("accounts"), status("refresh", "not-a-uid")] == [0, 2]
