"""Websites that a developer visits while the stand-in runs: they learn nothing from it, and cannot steer it."""

from __future__ import annotations

import signal
from urllib.parse import urlsplit

import pytest
import requests

from ontraport_connect.sandbox.server.process import hosts, parse_arguments
from tests.support.sandbox_client import start_sandbox, state
from tests.support.servers import free_port


@pytest.mark.parametrize("path", ["/", "/control/state", "/1/Contacts", "/.well-known/oauth-authorization-server"])
def test_a_name_that_somebody_else_leads_here_is_refused(url: str, path: str) -> None:
    response = requests.get(url + path, headers={"Host": f"rebound.example:{urlsplit(url).port}"}, timeout=10)
    assert response.status_code == 400
    assert "the hosts of --host, --url and --internal-url" in response.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ontraport.localhost", "[::1]"])
def test_names_of_this_machine_are_answered(url: str, host: str) -> None:
    headers = {"Host": f"{host}:{urlsplit(url).port}"}
    assert requests.get(f"{url}/control/state", headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "http://127.0.0.1:1", "null", "", "nonsense", "http://["]
)
@pytest.mark.parametrize("action", ["settings", "revoke", "reset"])
def test_another_website_cannot_steer_it(url: str, action: str, origin: str) -> None:
    before = state(url)
    form = {"fault": "500"} if action == "settings" else {}
    response = requests.post(f"{url}/control/{action}", data=form, headers={"Origin": origin}, timeout=10)
    assert (response.status_code, list(response.json()["errors"])) == (403, ["Origin"])
    assert state(url) == before


def test_its_own_page_and_programs_steer_it(url: str) -> None:
    port = urlsplit(url).port
    for headers in ({"Origin": url}, {}, {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}):
        assert requests.post(f"{url}/control/settings", data={}, headers=headers, timeout=10).status_code == 200


def test_it_is_known_by_the_hosts_that_it_is_started_with() -> None:
    options = ["--host", "::", "--url", "https://shop.example/", "--internal-url", "https://ontraport:8001"]
    assert hosts(parse_arguments(options)) == ["[::]", "shop.example", "ontraport"]
    assert hosts(parse_arguments([])) == ["127.0.0.1"]


def test_browsers_and_the_site_may_know_it_by_other_names() -> None:
    port = free_port()
    names = ("--url", "https://dev.example", "--internal-url", "http://ontraport:8001")
    process = start_sandbox("--port", str(port), *names)
    assert process.stdout is not None
    assert process.stdout.readline() == "Sandbox ready at https://dev.example/\n"
    for host in ("dev.example", "ontraport:8001"):
        headers = {"Host": host, "Origin": "https://dev.example"}
        assert requests.post(f"http://127.0.0.1:{port}/control/reset", headers=headers, timeout=10).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
