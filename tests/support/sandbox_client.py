"""A client of the stand-in for Ontraport: its authorization pages, token requests, MCP calls and control page."""

import base64
import hashlib
import secrets
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests

from tests.support.servers import PROJECT

REDIRECT_URI = "http://127.0.0.1:8765/ontraport/callback/"
SECRET = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
KEY_PAIR = {"Api-Appid": "2_187157_sandbox", "Api-Key": "sandbox-key-owner"}


def start_sandbox(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ontraport_connect.sandbox", *arguments],
        cwd=PROJECT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def control(url: str, action: str, **settings: Any) -> Any:
    response = requests.post(f"{url}/control/{action}", json=settings, timeout=10)
    response.raise_for_status()
    return response.json()


def state(url: str) -> Any:
    return requests.get(f"{url}/control/state", timeout=10).json()


class FormParser(HTMLParser):
    """Collects the hidden fields of the first form of a page."""

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
    """One authorization request and its way through the pages, as a browser takes it."""

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
        """Press a button of the consent page, and return the parameters of the callback."""
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
    return requests.post(f"{url}/oauth/token", data=message, timeout=60)


def call(url: str, headers: dict[str, str], method: str = "ping", **params: Any) -> requests.Response:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return requests.post(url, json=message, headers=headers, timeout=10)


def bearer(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}
