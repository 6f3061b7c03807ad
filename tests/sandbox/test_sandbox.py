"""The stand-in for Ontraport behaves as ONTRAPORT's published facts say, the host apart."""

import asyncio
import base64
import errno
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2
import pytest
import requests
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

REPOSITORY = Path(__file__).parents[2]
REDIRECT_URI = "http://127.0.0.1:8765/ontraport/callback/"
SECRET = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
KEY_PAIR = {"Api-Appid": "2_187157_sandbox", "Api-Key": "sandbox-key-owner"}
PUBLISHED = {
    "issuer": "",
    "authorization_endpoint": "/oauth/authorize",
    "token_endpoint": "/oauth/token",
    "registration_endpoint": "/oauth/register",
    "revocation_endpoint": "/oauth/revoke",
    "response_types_supported": ["code"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
    "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
    "code_challenge_methods_supported": ["S256"],
    "scopes_supported": ["mcp:tools"],
    "client_id_metadata_document_supported": True,
    "authorization_response_iss_parameter_supported": True,
}


def start_sandbox(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "example_project.sandbox", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def sandbox_process() -> Iterator[str]:
    process = start_sandbox("--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Sandbox ready at http://127.0.0.1:"), process.communicate()[1]
    yield line.split()[-1].rstrip("/")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


@pytest.fixture
def url(sandbox_process: str) -> str:
    control(sandbox_process, "reset")
    return sandbox_process


def control(url: str, action: str, **settings: Any) -> Any:
    response = requests.post(f"{url}/control/{action}", json=settings, timeout=10)
    response.raise_for_status()
    return response.json()


def state(url: str) -> Any:
    return requests.get(f"{url}/control/state", timeout=10).json()


class FormParser(HTMLParser):
    """The hidden fields of the first form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._forms = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._forms += tag == "form"
        if tag == "input" and self._forms == 1 and attributes.get("type") == "hidden":
            self.fields[attributes["name"] or ""] = attributes.get("value") or ""


@dataclass
class Attempt:
    """One authorization request and its way through the pages, as a browser goes it."""

    url: str
    client_id: str = "sandbox-client"
    redirect_uri: str = REDIRECT_URI
    scope: str = "mcp:tools"
    challenge_method: str = "S256"
    username: str = "owner"

    def __post_init__(self) -> None:
        self.browser = requests.Session()
        self.state = secrets.token_urlsafe(16)
        self.verifier = secrets.token_urlsafe(48)

    @property
    def request_url(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": self.challenge_method,
            "resource": "https://mcp.ontraport.com",
        }
        return f"{self.url}/oauth/authorize?{urlencode(query)}"

    def log_in(self) -> requests.Response:
        page = self.browser.get(self.request_url, timeout=10)
        fields = FormParser(page.text).fields | {"username": self.username, "password": "sandbox"}
        return self.browser.post(page.url, data=fields, timeout=10, allow_redirects=False)

    def decide(self, **button: str) -> dict[str, str]:
        """Press a button of the consent page; the parameters that the callback gets."""
        page = self.browser.get(urljoin(self.url, self.log_in().headers["Location"]), timeout=10)
        fields = FormParser(page.text).fields | button
        return self.callback(self.browser.post(page.url, data=fields, timeout=10, allow_redirects=False))

    def callback(self, response: requests.Response) -> dict[str, str]:
        location = response.headers["Location"]
        assert location.startswith(self.redirect_uri)
        return {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}

    def exchange(self, code: str, **client: str) -> requests.Response:
        message = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            "resource": "https://mcp.ontraport.com",
        }
        return requests.post(f"{self.url}/oauth/token", data=message | (client or SECRET), timeout=10)

    def link(self, **client: str) -> Any:
        response = self.exchange(self.decide(allow="true")["code"], **client)
        assert response.status_code == 200, response.text
        return response.json()


def refresh(url: str, refresh_token: str, **client: str) -> requests.Response:
    message = {"grant_type": "refresh_token", "refresh_token": refresh_token} | (client or SECRET)
    return requests.post(f"{url}/oauth/token", data=message, timeout=10)


def call(url: str, headers: dict[str, str], method: str = "ping", **params: Any) -> requests.Response:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return requests.post(url, json=message, headers=headers, timeout=10)


def bearer(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def test_metadata_is_what_ontraport_publishes_the_host_apart(url: str) -> None:
    document = requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=10).json()
    endpoints = {name for name in PUBLISHED if name == "issuer" or name.endswith("_endpoint")}
    assert document == {name: f"{url}{value}" if name in endpoints else value for name, value in PUBLISHED.items()}


def test_a_customer_links_and_the_token_opens_their_account(url: str) -> None:
    attempt = Attempt(url, username="agency")
    callback = attempt.decide(allow="true")
    assert callback.keys() == {"code", "state", "iss"}
    assert (callback["state"], callback["iss"]) == (attempt.state, url)
    tokens = attempt.exchange(callback["code"]).json()
    assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "scope"}
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 3600, "mcp:tools")
    account = call(url, bearer(tokens), "tools/call", name="get_account_info").json()["result"]["structuredContent"]
    assert account == {"account_id": 204211, "name": "Northlight Agency", "timezone": "Europe/Copenhagen"}
    assert attempt.exchange(callback["code"]).json() == {"error": "invalid_grant"}


def test_consent_is_asked_every_time(url: str) -> None:
    attempt = Attempt(url)
    attempt.decide(allow="true")
    page = attempt.browser.get(attempt.request_url, timeout=10)
    assert "Allow Example shop to use your account?" in page.text


def test_denied_consent_comes_back_with_its_issuer(url: str) -> None:
    attempt = Attempt(url)
    assert attempt.decide(deny="true") == {"error": "access_denied", "state": attempt.state, "iss": url}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"scope": "everything"}, "invalid_scope"), ({"challenge_method": "plain"}, "invalid_request")],
)
def test_a_wrong_authorization_request_comes_back_with_its_issuer(url: str, wrong: dict[str, str], error: str) -> None:
    attempt = Attempt(url, **wrong)
    login = attempt.log_in()
    response = attempt.browser.get(urljoin(url, login.headers["Location"]), timeout=10, allow_redirects=False)
    callback = attempt.callback(response)
    assert (callback["error"], callback["state"], callback["iss"]) == (error, attempt.state, url)


@pytest.mark.parametrize("wrong", [{"client_id": "nobody"}, {"redirect_uri": "https://example.org/elsewhere/"}])
def test_a_stranger_is_not_sent_anywhere(url: str, wrong: dict[str, str]) -> None:
    attempt = Attempt(url, **wrong)
    response = attempt.browser.get(urljoin(url, attempt.log_in().headers["Location"]), timeout=10)
    assert response.status_code == 400
    assert response.url.startswith(url)
    assert "This request cannot be answered" in response.text


def test_the_verifier_must_be_the_one_of_the_challenge(url: str) -> None:
    attempt = Attempt(url)
    code = attempt.decide(allow="true")["code"]
    attempt.verifier = secrets.token_urlsafe(48)
    assert attempt.exchange(code).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("secret", ["wrong", ""])
def test_a_wrong_client_secret_is_invalid_client(url: str, secret: str) -> None:
    response = refresh(url, "any", client_id="sandbox-client", client_secret=secret)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_there_is_no_client_secret_basic(url: str) -> None:
    message = {"grant_type": "refresh_token", "refresh_token": "any"}
    response = requests.post(f"{url}/oauth/token", data=message, auth=("sandbox-client", "sandbox-secret"), timeout=10)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_other_grant_types_are_not_supported(url: str) -> None:
    response = requests.post(f"{url}/oauth/token", data={"grant_type": "password"} | SECRET, timeout=10)
    assert (response.status_code, response.json()) == (400, {"error": "unsupported_grant_type"})


def test_a_refresh_rotates_both_tokens(url: str) -> None:
    first = Attempt(url).link()
    second = refresh(url, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert call(url, bearer(second)).status_code == 200
    assert call(url, bearer(first)).status_code == 401
    assert state(url)["grants"][0]["refreshes"] == 1


def test_a_spent_refresh_token_kills_the_whole_grant(url: str) -> None:
    """RFC 9700, 4.14.2."""
    first = Attempt(url).link()
    second = refresh(url, first["refresh_token"]).json()
    assert refresh(url, first["refresh_token"]).json() == {"error": "invalid_grant"}
    assert refresh(url, second["refresh_token"]).json() == {"error": "invalid_grant"}
    assert call(url, bearer(second)).status_code == 401
    after = state(url)
    assert after["counts"]["reuse_detected"] == 1
    assert not after["grants"][0]["alive"]


@pytest.mark.parametrize("callers", [2, 32])
def test_refreshing_at_the_same_time_kills_the_grant(url: str, callers: int) -> None:
    token = Attempt(url).link()["refresh_token"]
    together = threading.Barrier(callers)

    def spend(_: int) -> requests.Response:
        together.wait()
        return refresh(url, token)

    with ThreadPoolExecutor(callers) as pool:
        responses = list(pool.map(spend, range(callers)))
    assert sorted(response.status_code for response in responses) == [200] + [400] * (callers - 1)
    winner = next(response.json() for response in responses if response.status_code == 200)
    assert refresh(url, winner["refresh_token"]).json() == {"error": "invalid_grant"}
    after = state(url)
    assert after["counts"]["token:refresh_token"] == callers + 1
    assert not after["grants"][0]["alive"]


def test_a_public_client_needs_no_secret(url: str) -> None:
    tokens = Attempt(url, client_id="sandbox-public").link(client_id="sandbox-public")
    assert refresh(url, tokens["refresh_token"], client_id="sandbox-public").status_code == 200


def test_a_revoked_token_ends_the_grant(url: str) -> None:
    """RFC 7009."""
    tokens = Attempt(url).link()
    message = {"token": tokens["refresh_token"], "token_type_hint": "refresh_token"}
    assert requests.post(f"{url}/oauth/revoke", data=message | SECRET, timeout=10).status_code == 200
    assert requests.post(f"{url}/oauth/revoke", data={"token": "unknown"} | SECRET, timeout=10).status_code == 200
    assert refresh(url, tokens["refresh_token"]).json() == {"error": "invalid_grant"}
    assert call(url, bearer(tokens)).status_code == 401
    after = state(url)
    assert (after["counts"]["revoke"], after["counts"]["reuse_detected"]) == (2, 0)
    assert not after["grants"][0]["alive"]


def revoke(url: str, token: str) -> None:
    assert requests.post(f"{url}/oauth/revoke", data={"token": token} | SECRET, timeout=10).status_code == 200


@pytest.mark.parametrize(("switch", "status"), [("true", 400), ("false", 200)])
@pytest.mark.parametrize("revoked", ["refresh_token", "access_token"])
def test_revoking_one_grant_ends_the_others_of_the_same_person_and_client(
    url: str, revoked: str, switch: str, status: int
) -> None:
    """RFC 7009, 2.1: what else ends is the server's policy. The switch is on by default; it never reaches other people or clients."""
    assert state(url)["one_grant_per_client"]
    control(url, "settings", one_grant_per_client=switch)
    first, second = Attempt(url).link(), Attempt(url).link()
    other_person = Attempt(url, username="agency").link()
    other_client = Attempt(url, client_id="sandbox-public").link(client_id="sandbox-public")
    revoke(url, first[revoked])
    assert refresh(url, first["refresh_token"]).json() == {"error": "invalid_grant"}
    assert refresh(url, second["refresh_token"]).status_code == status
    assert refresh(url, other_person["refresh_token"]).status_code == 200
    assert refresh(url, other_client["refresh_token"], client_id="sandbox-public").status_code == 200


@pytest.mark.parametrize(("switch", "status"), [("true", 400), ("false", 200)])
def test_a_customer_who_revokes_one_grant_ends_the_others_for_that_client(url: str, switch: str, status: int) -> None:
    control(url, "settings", one_grant_per_client=switch)
    kept = Attempt(url).link()
    Attempt(url).link()
    control(url, "revoke", grant=state(url)["grants"][0]["id"])
    assert refresh(url, kept["refresh_token"]).status_code == status


def test_the_switch_for_one_grant_is_on_the_control_page(url: str) -> None:
    back = requests.post(
        f"{url}/control/settings",
        data={"one_grant_per_client": "false"},
        headers={"Accept": "text/html"},
        timeout=10,
    )
    assert '<option value="false" selected>End that grant only</option>' in back.text


@pytest.mark.parametrize("method", ["client_secret_post", "none"])
def test_a_client_registers_itself(url: str, method: str) -> None:
    """RFC 7591."""
    wanted = {
        "client_name": "A shop",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": method,
        "application_type": "web",
    }
    response = requests.post(f"{url}/oauth/register", json=wanted, timeout=10)
    client = response.json()
    assert response.status_code == 201
    assert (client["token_endpoint_auth_method"], client["redirect_uris"]) == (method, [REDIRECT_URI])
    assert ("client_secret" in client) == (method == "client_secret_post")
    credentials = {name: client[name] for name in ("client_id", "client_secret") if name in client}
    assert Attempt(url, client_id=client["client_id"]).link(**credentials)["token_type"] == "Bearer"


def test_registration_without_redirect_uri_is_refused(url: str) -> None:
    response = requests.post(f"{url}/oauth/register", json={"client_name": "A shop"}, timeout=10)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")


@pytest.fixture
def client_metadata_url() -> Iterator[str]:
    """A site that serves the metadata document of its own client."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = {
                "client_id": client_id,
                "client_name": "A shop with a document",
                "redirect_uris": [REDIRECT_URI],
                "token_endpoint_auth_method": "none",
            }
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Tests are quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        client_id = f"http://127.0.0.1:{server.server_port}/client.json"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield client_id
        server.shutdown()
        thread.join()


def test_a_client_is_its_metadata_document(url: str, client_metadata_url: str) -> None:
    tokens = Attempt(url, client_id=client_metadata_url).link(client_id=client_metadata_url)
    assert refresh(url, tokens["refresh_token"], client_id=client_metadata_url).status_code == 200
    assert state(url)["grants"][0]["client_id"] == client_metadata_url


def test_rest_wants_both_keys_and_says_so_in_plain_text(url: str) -> None:
    tokens = Attempt(url).link()
    for headers in ({}, KEY_PAIR | {"Api-Key": "wrong"}, {"Api-Appid": KEY_PAIR["Api-Appid"]}, bearer(tokens)):
        response = requests.get(f"{url}/1/objects/getInfo?objectID=0", headers=headers, timeout=10)
        assert response.status_code == 401
        assert response.headers["Content-Type"].startswith("text/plain")
        assert response.text == "Your App ID and API Key do not authenticate."


def test_rest_answers_in_the_envelope(url: str) -> None:
    info = requests.get(f"{url}/1/objects/getInfo?objectID=0", headers=KEY_PAIR, timeout=10).json()
    assert (info["code"], info["account_id"], info["data"]["count"]) == (0, 187157, "21")
    first = requests.get(f"{url}/1/objects?objectID=0&range=1", headers=KEY_PAIR, timeout=10).json()
    assert first["data"][0]["id"] == "1"
    assert first["data"][0]["email"] == "amara.okafor@example.com"


def test_rest_pages_hold_fifty_at_most(url: str) -> None:
    control(url, "settings", contacts=120)
    seen: list[str] = []
    for start in (0, 50, 100, 150):
        address = f"{url}/1/objects?objectID=0&start={start}&range=500"
        seen += [contact["id"] for contact in requests.get(address, headers=KEY_PAIR, timeout=10).json()["data"]]
        assert len(seen) <= start + 50
    assert seen == [str(number) for number in range(1, 121)]


def test_the_limit_is_per_account_over_rest_and_mcp(url: str) -> None:
    address = f"{url}/1/objects/getInfo?objectID=0"
    with requests.Session() as session:
        session.headers.update(KEY_PAIR)
        for remaining in range(179, 0, -1):
            response = session.get(address, timeout=10)
            assert response.headers["X-Rate-Limit-Remaining"] == str(remaining)
    assert call(url, KEY_PAIR).headers["X-Rate-Limit-Remaining"] == "0"
    response = requests.get(address, headers=KEY_PAIR, timeout=10)
    assert response.status_code == 429
    assert response.headers["X-Rate-Limit-Limit"] == "180"
    assert 0 < int(response.headers["X-Rate-Limit-Reset"]) <= 60
    assert "Retry-After" not in response.headers
    assert call(url, KEY_PAIR).status_code == 429
    other = {"Api-Appid": "2_204211_sandbox", "Api-Key": "sandbox-key-agency"}
    assert requests.get(address, headers=other, timeout=10).headers["X-Rate-Limit-Remaining"] == "179"


def test_the_limit_rolls(url: str) -> None:
    control(url, "settings", rate_limit=2, rate_window=0.2)
    assert [call(url, KEY_PAIR).status_code for _ in range(3)] == [200, 200, 429]
    deadline = time.monotonic() + 5
    while call(url, KEY_PAIR).status_code != 200:
        assert time.monotonic() < deadline


def test_mcp_challenges_the_stranger(url: str) -> None:
    challenge = f'Bearer resource_metadata="{url}/.well-known/oauth-protected-resource", scope="mcp:tools"'
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer 2_187157_sandbox:wrong"}):
        response = call(url, headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == challenge
        assert response.json() == {"error": "unauthorized", "error_description": "Bearer token required"}


def test_mcp_names_its_authorization_server(url: str) -> None:
    """RFC 9728."""
    assert requests.get(f"{url}/.well-known/oauth-protected-resource", timeout=10).json() == {
        "resource": url,
        "authorization_servers": [url],
        "scopes_supported": ["mcp:tools"],
        "bearer_methods_supported": ["header"],
    }


def test_mcp_is_at_the_root_and_takes_posts_only(url: str) -> None:
    assert requests.post(f"{url}/mcp", timeout=10).status_code == 404
    assert requests.get(url, headers={"Accept": "text/event-stream"}, timeout=10).status_code == 405
    assert requests.delete(url, timeout=10).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [KEY_PAIR, {"Authorization": "Bearer 2_187157_sandbox:sandbox-key-owner"}],
    ids=["headers", "bearer"],
)
def test_mcp_takes_a_key_pair(url: str, headers: dict[str, str]) -> None:
    assert call(url, headers).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}


@pytest.mark.parametrize(
    ("body", "code"),
    [("{", -32700), ("[]", -32600), ('{"id": 1}', -32600), ('{"id": 1, "method": "nonsense"}', -32601)],
)
def test_mcp_refuses_what_is_not_json_rpc(url: str, body: str, code: int) -> None:
    assert requests.post(url, data=body, headers=KEY_PAIR, timeout=10).json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({"ids": ["2", 5]}, ["2", "5"]),
        ({"id": 3}, ["3"]),
        ({"search": "uppsala"}, ["3"]),
        ({"start": 19, "range": 5}, ["20", "21"]),
        ({"condition": [{"field": {"field": "city"}, "op": "=", "value": {"value": "Kyoto"}}]}, ["4"]),
        (
            {
                "condition": [
                    {"field": {"field": "country"}, "op": "=", "value": {"value": "SE"}},
                    "OR",
                    {"field": {"field": "email"}, "op": "LIKE", "value": {"value": "%moreau%"}},
                ]
            },
            ["3", "7"],
        ),
    ],
)
def test_mcp_chooses_contacts(url: str, arguments: dict[str, Any], ids: list[str]) -> None:
    result = call(url, KEY_PAIR, "tools/call", name="get_objects", arguments=arguments).json()["result"]
    assert [contact["id"] for contact in result["structuredContent"]["data"]] == ids
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


def test_mcp_says_what_is_wrong_with_a_call(url: str) -> None:
    result = call(url, KEY_PAIR, "tools/call", name="get_objects", arguments={"objectID": 17}).json()["result"]
    assert result["isError"]
    assert "not allowed" in result["content"][0]["text"]
    assert call(url, KEY_PAIR, "tools/call", name="delete_object").json()["error"]["code"] == -32602


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client_works(url: str, mode: str) -> None:
    tokens = Attempt(url).link()

    async def use() -> tuple[list[str], Any, Any]:
        async with (
            httpx2.AsyncClient(headers=bearer(tokens), trust_env=False) as http_client,
            Client(streamable_http_client(url, http_client=http_client), mode=mode) as client,
        ):
            tools = await client.list_tools()
            account = await client.call_tool("get_account_info", {})
            counted = await client.call_tool("count_objects", {"objectID": "0"})
            return [tool.name for tool in tools.tools], account.structured_content, counted.structured_content

    tools, account, counted = asyncio.run(use())
    assert tools == ["get_account_info", "list_allowed_object_types", "get_objects", "count_objects"]
    assert account["account_id"] == 187157
    assert counted == {"count": 21}


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
