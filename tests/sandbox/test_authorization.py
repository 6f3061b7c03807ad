"""The stand-in's authorization server behaves as Ontraport's published facts say, apart from the host."""

import json
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urljoin

import pytest
import requests

from tests.support.sandbox_client import REDIRECT_URI, SECRET, Attempt, bearer, call, control, refresh, state
from tests.support.servers import free_port

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
    assert re.search(r'name="one_grant_per_client".*?<option value="false" selected>No</option>', back.text)


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
    """Serve the metadata document of a client, as a site does, and return its URL."""

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
            """Log nothing."""

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


@pytest.mark.parametrize("client_id", ["http://127.0.0.1:{port}/client.json", "https://nobody.invalid/client.json"])
def test_a_client_whose_document_cannot_be_read_is_a_stranger(url: str, client_id: str) -> None:
    attempt = Attempt(url, client_id=client_id.format(port=free_port()))
    response = attempt.browser.get(urljoin(url, attempt.log_in().headers["Location"]), timeout=30)
    assert response.status_code == 400
    assert "This request cannot be answered" in response.text
