"""A person at the sandbox: signs in, allows or denies, and returns to the site."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from django.test import Client
from django.urls import reverse

from tests.support.servers import Sandbox


def settings_for(url: str) -> dict[str, Any]:
    """Return the settings with which the app talks to the sandbox."""
    origin = url.rstrip("/")
    return {
        "ONTRAPORT_CLIENT_ID": "sandbox-client",
        "ONTRAPORT_CLIENT_SECRET": "sandbox-secret",
        "ONTRAPORT_ENDPOINTS": {
            "issuer": origin,
            "authorization_endpoint": f"{origin}/oauth/authorize",
            "token_endpoint": f"{origin}/oauth/token",
            "revocation_endpoint": f"{origin}/oauth/revoke",
            "registration_endpoint": f"{origin}/oauth/register",
        },
        "ONTRAPORT_RESOURCE": origin,
        "ONTRAPORT_MCP_URL": f"{origin}/",
        "ONTRAPORT_REST_URL": f"{origin}/1/",
        "ONTRAPORT_REDIRECT_URI": "http://127.0.0.1:8000/ontraport/callback/",
    }


def consent(authorization_url: str, *, username: str = "owner", allow: bool = True) -> str:
    """Sign in at the sandbox, answer the consent page, and return the URL that the browser is sent back to."""
    with requests.Session() as browser:
        browser.trust_env = False
        page = browser.get(authorization_url)
        if "password" in page.text:
            page = browser.post(
                page.url, data={**hidden_fields(page.text), "username": username, "password": "sandbox"}
            )
        answer = {"allow": "Authorize"} if allow else {}
        target = urljoin(page.url, form_action(page.text))
        page = browser.post(target, data={**hidden_fields(page.text), **answer}, allow_redirects=False)
        return str(page.headers["Location"])


def hidden_fields(html: str) -> dict[str, str]:
    tags = [tag for tag in re.findall(r"<input[^>]*>", html) if 'type="hidden"' in tag]
    return {attribute(tag, "name"): attribute(tag, "value") for tag in tags}


def form_action(html: str) -> str:
    form = re.search(r"<form[^>]*>", html)
    assert form is not None, html
    return attribute(form[0], "action")


def attribute(tag: str, name: str) -> str:
    found = re.search(rf'{name}="([^"]*)"', tag)
    return unescape(found[1]) if found else ""


def press_connect(client: Client, **data: str) -> str:
    """Press the button and return the authorization URL."""
    response = client.post(reverse("ontraport_connect:connect"), data)
    assert response.status_code == 302, response.content
    return str(response["Location"])


def come_back(client: Client, callback_url: str) -> Any:
    """Open the callback as the browser does, and return the response."""
    parts = urlsplit(callback_url)
    return client.get(f"{parts.path}?{parts.query}")


def link(client: Client, sandbox: Sandbox, *, username: str = "owner", **data: str) -> Any:
    """Link the account of the person who is signed in with ``client``, and return the response of the callback."""
    return come_back(client, consent(press_connect(client, **data), username=username))
