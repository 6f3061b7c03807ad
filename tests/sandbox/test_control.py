"""The stand-in's switches (faults, lifetimes, revoked grants), its control page and its process."""

import errno
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.sandbox_client import KEY_PAIR, SECRET, Attempt, bearer, call, control, refresh, start_sandbox, state


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ({"fault": "500"}, 500, "500 Internal Server Error"),
        ({"fault": "429", "retry_after": "7"}, 429, "Too Many Requests"),
        ({"fault": "nonsense"}, 200, "<!doctype html>"),
        ({"fault": "invalid_client"}, 401, '{"error": "invalid_client"}'),
        ({"fault": "hang", "fault_seconds": 0}, 503, "503 Service Unavailable"),
    ],
)
def test_a_fault_is_met_as_often_as_it_is_set(url: str, fault: dict[str, Any], status: int, body: str) -> None:
    token = Attempt(url).link()["refresh_token"]
    control(url, "settings", fault_target="token", fault_count=2, **fault)
    for _ in range(2):
        response = refresh(url, token)
        assert (response.status_code, body in response.text) == (status, True)
        assert response.headers.get("Retry-After") == fault.get("retry_after")
    assert call(url, KEY_PAIR).status_code == 200
    assert refresh(url, token).status_code == 200, "the grant must not have been touched"


@pytest.mark.parametrize(
    ("target", "send"),
    [
        ("mcp", lambda url: call(url, KEY_PAIR)),
        ("rest", lambda url: requests.get(f"{url}/1/objects?objectID=0", headers=KEY_PAIR, timeout=10)),
        ("revoke", lambda url: requests.post(f"{url}/oauth/revoke", data={"token": "x"} | SECRET, timeout=10)),
    ],
)
def test_a_fault_has_its_target(url: str, target: str, send: Callable[[str], requests.Response]) -> None:
    control(url, "settings", fault="500", fault_target=target)
    assert send(url).status_code == 500
    assert refresh(url, "unknown").status_code == 400
    control(url, "settings", fault="500")
    assert (send(url).status_code, refresh(url, "unknown").status_code) == (500, 500)
    control(url, "settings", fault="none")
    assert send(url).status_code == 200


@pytest.mark.parametrize("kind", ["slow", "late"])
def test_a_slow_answer_is_still_an_answer(url: str, kind: str) -> None:
    token = Attempt(url).link()["refresh_token"]
    control(url, "settings", fault=kind, fault_target="token", fault_seconds=0.2, fault_count=1)
    started = time.monotonic()
    assert refresh(url, token).status_code == 200
    assert time.monotonic() - started >= 0.2


def test_a_lifetime_is_set_and_kept(url: str) -> None:
    control(url, "settings", access_token_lifetime=1)
    tokens = Attempt(url).link()
    assert tokens["expires_in"] == 1
    deadline = time.monotonic() + 5
    while call(url, bearer(tokens)).status_code != 401:
        assert time.monotonic() < deadline
    control(url, "settings", send_expires_in=False)
    assert "expires_in" not in refresh(url, tokens["refresh_token"]).json()


def test_an_answer_can_be_lost(url: str) -> None:
    token = Attempt(url).link()["refresh_token"]
    control(url, "settings", fault="lost", fault_target="token", fault_count=1)
    with pytest.raises(requests.ConnectionError):
        refresh(url, token)
    assert refresh(url, token).json() == {"error": "invalid_grant"}, "the lost answer had spent the token"


def test_a_spent_refresh_token_has_a_grace_period_if_that_is_wanted(url: str) -> None:
    control(url, "settings", refresh_token_grace=60)
    token = Attempt(url).link()["refresh_token"]
    assert refresh(url, token).status_code == 200
    assert refresh(url, token).status_code == 200


def test_a_refresh_token_may_end(url: str) -> None:
    control(url, "settings", refresh_token_lifetime=1, access_token_lifetime=1)
    token = Attempt(url).link()["refresh_token"]
    control(url, "settings", refresh_token_lifetime=3600)
    token = refresh(url, token).json()["refresh_token"]
    control(url, "settings", refresh_token_lifetime=1)
    deadline = time.monotonic() + 10
    while (answer := refresh(url, token).json()).get("error") != "invalid_grant":
        assert time.monotonic() < deadline
        token = answer["refresh_token"]
        time.sleep(2.1)


def test_another_issuer_is_named_everywhere(url: str) -> None:
    control(url, "settings", issuer="https://elsewhere.example")
    assert Attempt(url).decide(allow="true")["iss"] == "https://elsewhere.example"
    metadata = requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=10).json()
    assert (metadata["issuer"], metadata["token_endpoint"]) == ("https://elsewhere.example", f"{url}/oauth/token")
    control(url, "settings", issuer="")
    assert state(url)["issuer"] == ""


def test_switches_with_words_are_set_by_their_words(url: str) -> None:
    control(
        url, "settings", mcp_sessions="required", mcp_unknown_session="400", mcp_results="text", mcp_list_first=True
    )
    after = state(url)
    assert (after["mcp_sessions"], after["mcp_unknown_session"], after["mcp_results"]) == ("required", 400, "text")
    assert after["mcp_list_first"] is True
    assert call(url, KEY_PAIR).status_code == 400
    page = requests.get(url, headers={"Accept": "text/html"}, timeout=10).text
    assert "Some servers keep a session between the calls" in page
    assert '<option value="required" selected>' in page
    response = requests.post(f"{url}/control/settings", json={"mcp_sessions": "maybe"}, timeout=10)
    assert response.json()["errors"].keys() == {"mcp_sessions"}
    response = requests.post(f"{url}/control/settings", json={"fault": "fire"}, timeout=10)
    assert response.json()["errors"].keys() == {"fault"}


@pytest.mark.parametrize("body", ["{", "[]"])
def test_a_message_that_says_nothing_changes_nothing(url: str, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    before = state(url)
    response = requests.post(f"{url}/control/settings", data=body, headers=headers, timeout=10)
    assert response.json() == before


@pytest.mark.parametrize("grant", ["nonsense", "8c1c2e5e-0000-4000-8000-000000000000"])
def test_a_grant_that_is_not_there_cannot_be_revoked(url: str, grant: str) -> None:
    assert requests.post(f"{url}/control/revoke", json={"grant": grant}, timeout=10).status_code == 404


def test_a_stream_is_held_open_and_ends(url: str) -> None:
    control(url, "settings", mcp_stream=0.6)
    headers = {"Accept": "text/event-stream", **KEY_PAIR}
    with requests.get(url, headers=headers, timeout=10, stream=True) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert b"".join(response.iter_content(None)).startswith(b": nothing to say\n\n: nothing")


def test_a_developer_sees_the_last_requests(url: str) -> None:
    tokens = Attempt(url).link()
    requests.get(f"{url}/1/Contacts", params={"range": "1", "colour": "red"}, headers=KEY_PAIR, timeout=10)
    page = requests.get(url, headers={"Accept": "text/html"}, timeout=10).text
    assert "GET /1/Contacts</strong> 501" in page
    assert "it has no parameter colour in this call" in page
    secrets = (tokens["access_token"], tokens["refresh_token"], SECRET["client_secret"])
    assert not [secret for secret in secrets if secret in page.partition("People and keys")[0]]


def test_a_developer_sees_streams_and_ended_sessions_too(url: str) -> None:
    control(url, "settings", mcp_sessions="required")
    session = {"Mcp-Session-Id": call(url, KEY_PAIR, "initialize").headers["Mcp-Session-Id"], **KEY_PAIR}
    requests.get(url, headers={"Accept": "text/event-stream", **session}, timeout=10)
    requests.delete(url, headers=session, timeout=10)
    requests.get(url, headers={"Accept": "text/html"}, timeout=10)
    seen = [(entry["method"], entry["status"], entry["credentials"]) for entry in state(url)["requests"]]
    kind = "Api-Appid, Api-Key"
    assert seen == [("DELETE", 200, kind), ("GET", 405, kind), ("POST", 200, kind)]


def test_an_unknown_setting_is_an_error(url: str) -> None:
    response = requests.post(f"{url}/control/settings", json={"lifetime": 3}, timeout=10)
    assert (response.status_code, response.json()) == (400, {"errors": {"lifetime": ["There is no such setting."]}})


def test_a_customer_takes_one_grant_back(url: str) -> None:
    kept, lost = Attempt(url).link(), Attempt(url, username="agency").link()
    grant = state(url)["grants"][0]
    assert (grant["username"], grant["account_id"], grant["alive"]) == ("agency", 204211, True)
    control(url, "revoke", grant=grant["id"])
    assert refresh(url, lost["refresh_token"]).json() == {"error": "invalid_grant"}
    assert refresh(url, kept["refresh_token"]).status_code == 200
    control(url, "revoke")
    assert not any(grant["alive"] for grant in state(url)["grants"])
    assert state(url)["counts"]["reuse_detected"] == 0


def test_the_state_shows_no_token(url: str) -> None:
    tokens = Attempt(url).link()
    shown = requests.get(f"{url}/control/state", timeout=10).text + requests.get(url, timeout=10).text
    assert tokens["access_token"] not in shown
    assert tokens["refresh_token"] not in shown


def test_a_person_works_the_control_page(url: str) -> None:
    page = requests.get(url, headers={"Accept": "text/html"}, timeout=10)
    assert "Sandbox, not Ontraport" in page.text
    form = {"fault": "429", "fault_target": "rest", "fault_seconds": "5", "fault_count": "3", "retry_after": ""}
    back = requests.post(f"{url}/control/settings", data=form, headers={"Accept": "text/html"}, timeout=10)
    assert back.url == f"{url}/"
    assert re.search(r"REST:</strong>\s*429 Too Many Requests, 3 more times", back.text)


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_sandbox("--port", str(port))
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    reason = os.strerror(errno.EADDRINUSE)
    what_to_do = "Choose another address with --port or --host."
    assert errors == f"Sandbox: cannot listen on 127.0.0.1:{port}: {reason}. {what_to_do}\n"


def test_https_with_a_private_ca_and_a_client_of_ones_own() -> None:
    environ = {**os.environ, "SANDBOX_CLIENT_ID": "my-shop", "SANDBOX_CLIENT_SECRET": "my-secret"}
    process = start_sandbox("--port", "0", "--https", "--log", environ=environ)
    assert process.stdout is not None
    bundle = process.stdout.readline().split()[-1]
    url = process.stdout.readline().split()[-1]
    assert url.startswith("https://127.0.0.1:")
    address = f"{url}.well-known/oauth-authorization-server"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(address, timeout=10)
    assert requests.get(address, timeout=10, verify=bundle).json()["issuer"] == url.rstrip("/")
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "my-shop", "client_secret": "my-secret"}
    assert requests.post(f"{url}oauth/token", data=form, timeout=10, verify=bundle).json() == {"error": "invalid_grant"}
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "POST /oauth/token 400" in errors
    assert "Traceback" not in errors


def test_grants_outlive_the_process_with_a_database_of_their_own(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--database", str(tmp_path / "sandbox.sqlite3"))
    token = ""
    for expected in ("linked", "refreshed"):
        process = start_sandbox(*arguments, "--redirect-uri", "https://shop.example.com/ontraport/callback/")
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1].rstrip("/")
        if expected == "linked":
            token = Attempt(url, redirect_uri="https://shop.example.com/ontraport/callback/").link()["refresh_token"]
        else:
            assert refresh(url, token).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
