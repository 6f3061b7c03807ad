"""``ONTRAPORT_ENDPOINTS = "sandbox"``, the check that keeps it on laptops, the command that starts it, and the page that says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.test.utils import _TestState
from django.urls import reverse

from ontraport_connect import checks, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.management.subcommands import sandbox as subcommand
from ontraport_connect.staff import diagnosis
from ontraport_connect.staff.findings import Level
from tests.support.linked import person
from tests.support.servers import HOST, PROJECT, free_port

OPTIONS = {"host": None, "port": None, "https": False, "database": None, "log": False}


@pytest.fixture
def at_sandbox() -> Iterator[None]:
    with override_settings(ONTRAPORT_ENDPOINTS="sandbox"):
        yield


def test_one_setting_does_it_all(at_sandbox: None) -> None:
    with override_settings(ONTRAPORT_REST_URL="https://api.ontraport.com/1/", ONTRAPORT_SANDBOX_URL="http://[::1]:9/"):
        assert (conf.ONTRAPORT_CLIENT_ID, conf.ONTRAPORT_CLIENT_SECRET) == ("sandbox-client", "sandbox-secret")
        assert (conf.ONTRAPORT_REST_URL, conf.ONTRAPORT_MCP_URL) == ("http://[::1]:9/1/", "http://[::1]:9/")
        assert conf.ONTRAPORT_RESOURCE == refreshing.endpoints().issuer == "http://[::1]:9"


def test_a_client_of_ones_own_is_kept(at_sandbox: None) -> None:
    with override_settings(ONTRAPORT_CLIENT_ID="mine"):
        assert (conf.ONTRAPORT_CLIENT_ID, conf.ONTRAPORT_CLIENT_SECRET) == ("mine", None)


def test_browsers_and_the_site_may_use_two_addresses(at_sandbox: None) -> None:
    with override_settings(ONTRAPORT_SANDBOX_INTERNAL_URL="http://ontraport.localhost:8001"):
        endpoints = refreshing.endpoints()
        assert endpoints.authorization_endpoint == "http://127.0.0.1:8001/oauth/authorize"
        assert endpoints.token_endpoint == "http://ontraport.localhost:8001/oauth/token"
        assert [error.id for error in checks.check_settings(None)] == []
    with override_settings(ONTRAPORT_SANDBOX_INTERNAL_URL="http://ontraport:8001"):
        assert {error.id for error in checks.check_settings(None)} == {"ontraport_connect.E002"}


@pytest.mark.parametrize(("debug", "found"), [(False, ["ontraport_connect.E030"]), (True, [])])
def test_a_check_keeps_it_on_laptops(
    at_sandbox: None, monkeypatch: pytest.MonkeyPatch, found: list[str], *, debug: bool
) -> None:
    monkeypatch.delattr(_TestState, "saved_data")  # which tells a test run, where DEBUG is always off
    with override_settings(DEBUG=debug):
        assert [error.id for error in checks.check_settings(None)] == found


@pytest.mark.django_db
@pytest.mark.parametrize("is_sandbox", [True, False])
def test_what_does_not_run_is_to_be_started(is_sandbox: bool) -> None:
    url = f"http://{HOST}:{free_port()}"
    endpoints: Any = {"authorization_endpoint": f"{url}/authorize", "token_endpoint": f"{url}/token"}
    addresses = {"ONTRAPORT_SANDBOX_URL": url, "ONTRAPORT_REST_URL": f"{url}/1/", "ONTRAPORT_MCP_URL": url}
    with override_settings(ONTRAPORT_ENDPOINTS="sandbox" if is_sandbox else endpoints, **addresses):
        hints = [found.hint for found in diagnosis.check_endpoints() if found.level == Level.ERROR]
    assert len(hints) >= 4
    assert all((hint == "Start it: manage.py ontraport sandbox.") == is_sandbox for hint in hints)


def test_without_debug_no_address_of_it_is_given_away(at_sandbox: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_TestState, "saved_data")
    for name in ("ONTRAPORT_REST_URL", "ONTRAPORT_MCP_URL", "ONTRAPORT_RESOURCE"):
        with pytest.raises(OntraportMisconfigured, match="ONTRAPORT_ENDPOINTS") as raised:
            getattr(conf, name)
        assert raised.value.code == "sandbox"
    with pytest.raises(OntraportMisconfigured, match="ONTRAPORT_ENDPOINTS"):
        refreshing.endpoints()
    monkeypatch.delitem(sys.modules, "django.test.utils")
    assert conf.sandbox_is_refused


class Listener(BaseHTTPRequestHandler):
    """Takes whatever comes to where the stand-in would be."""

    def do_GET(self) -> None:
        self.server.heard.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    do_POST = do_GET  # noqa: N815  # http.server's name


@pytest.fixture
def listener() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer((HOST, 0), Listener)
    server.heard = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_runs_no_checks_sends_it_nothing(child_environ: Any, listener: Any) -> None:
    person("maya")
    settings = {"ONTRAPORT_SANDBOX_URL": f"http://{HOST}:{listener.server_port}", "ONTRAPORT_ENDPOINTS": "sandbox"}
    site = subprocess.run(
        [sys.executable, "-m", "tests.support.site_without_checks"],
        cwd=PROJECT,
        env=child_environ(
            **settings, DEBUG=False, ONTRAPORT_REDIRECT_URI="https://shop.example.com/ontraport/callback/"
        ),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(site.stdout) == {
        "page": [302, "/ontraport/problem/misconfigured/"],
        "json": [503, "misconfigured"],
        "key": [422, "misconfigured"],
        "json_key": [503, "misconfigured"],
        "rest": "sandbox",
        "mcp": "sandbox",
        "accounts": 1,
    }
    assert listener.heard == []
    assert "Nobody can connect Ontraport: ONTRAPORT_ENDPOINTS" in site.stderr


def test_the_address_to_listen_on_is_that_of_the_setting(at_sandbox: None) -> None:
    with override_settings(
        ONTRAPORT_SANDBOX_URL="http://localhost:9001", ONTRAPORT_REDIRECT_URI="https://shop.example/cb/"
    ):
        arguments = subcommand._arguments(OPTIONS)
    callback = reverse("ontraport_connect:callback")
    assert arguments == [
        *("--host", "localhost", "--port", "9001"),
        *("--redirect-uri", "https://shop.example/cb/"),
        *("--redirect-uri", f"http://127.0.0.1{callback}", "--redirect-uri", f"http://localhost{callback}"),
    ]


def test_it_may_listen_elsewhere_than_browsers_think(at_sandbox: None) -> None:
    with override_settings(ONTRAPORT_SANDBOX_URL="http://ontraport.localhost", ROOT_URLCONF="tests.support.no_urls"):
        arguments = subcommand._arguments({**OPTIONS, "host": "192.0.2.1", "database": "x.sqlite3", "https": True})
    assert arguments == [
        *("--host", "192.0.2.1", "--url", "http://ontraport.localhost", "--internal-url", "http://ontraport.localhost"),
        *("--database", "x.sqlite3", "--https"),
    ]


def test_the_stand_in_gets_the_client_of_the_site_and_none_of_its_settings(
    at_sandbox: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    assert not {"DJANGO_SETTINGS_MODULE", "SANDBOX_CLIENT_ID"} & {*subcommand._environment()}
    with override_settings(ONTRAPORT_CLIENT_ID="mine"):
        assert subcommand._environment()["SANDBOX_CLIENT_ID"] == "mine"


def test_without_the_extra_it_says_what_to_install(at_sandbox: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oauth2_provider", None)
    with pytest.raises(CommandError, match="pip install 'django-ontraport-connect\\[sandbox\\]'"):
        call_command("ontraport", "sandbox")


def test_a_stand_in_that_cannot_start_is_a_failure(at_sandbox: None) -> None:
    with pytest.raises(CommandError, match=r"The stand-in has ended\."):
        call_command("ontraport", "sandbox", port=70_000)


def test_the_command_serves_until_it_is_stopped(child_environ: Any) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "ontraport", "sandbox", "--port", "0"],
        cwd=PROJECT,
        env=child_environ(ONTRAPORT_ENDPOINTS="sandbox"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"Sandbox ready at http://{HOST}:")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 128 + signal.SIGTERM


@pytest.fixture
def browser(db: None) -> Client:
    client = Client()
    client.force_login(person("maya"))
    return client


def press(browser: Client, **settings: Any) -> Any:
    with override_settings(DEBUG=True, ONTRAPORT_REDIRECT_URI=None, **settings):
        return browser.post(reverse("ontraport_connect:connect"), HTTP_HOST="127.0.0.1:8000")


def test_a_site_with_nobody_to_talk_to_says_how_to_start_the_stand_in(browser: Client) -> None:
    response = press(browser)
    assert response.status_code == 503
    assert "ONTRAPORT_ENDPOINTS = &quot;sandbox&quot;" in response.content.decode() or (
        'ONTRAPORT_ENDPOINTS = "sandbox"' in response.content.decode()
    )
    assert "manage.py ontraport sandbox" in response.content.decode()


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "http://127.0.0.1:port", "https://nobody.localhost"])
def test_a_stand_in_that_is_not_running_is_asked_for(browser: Client, address: str) -> None:
    url = address.format(port=free_port())
    response = press(browser, ONTRAPORT_ENDPOINTS="sandbox", ONTRAPORT_SANDBOX_URL=url)
    assert response.status_code == 503
    assert f"Nothing answers at {url}" in response.content.decode()


def test_a_stand_in_that_runs_is_led_to(browser: Client, sandbox: Any) -> None:
    response = press(browser, ONTRAPORT_ENDPOINTS="sandbox", ONTRAPORT_SANDBOX_URL=sandbox.url)
    assert (response.status_code, response["Location"].partition("?")[0]) == (302, f"{sandbox.url}/oauth/authorize")


def test_a_site_with_a_client_id_is_not_kept_from_ontraport(browser: Client) -> None:
    assert press(browser, ONTRAPORT_CLIENT_ID="mine")["Location"].startswith(
        "https://app.ontraport.com/oauth/authorize"
    )
