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
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, "")
    assert errors == f"Sandbox: cannot listen on 127.0.0.1:{port}: {os.strerror(errno.EADDRINUSE)}\n"


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
        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 0
