"""A site in production as a WSGI server starts it, without system checks: says as JSON how it answers a person who connects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model
from django.core import mail
from django.core.wsgi import get_wsgi_application
from django.test import Client

from ontraport_connect.exceptions import OntraportMisconfigured


def code_of(call: Callable[[], object]) -> str:
    try:
        call()
    except OntraportMisconfigured as error:
        return error.code
    return "sent"


def main() -> dict[str, Any]:
    get_wsgi_application()
    mail.outbox = []  # as the backend "locmem" leaves it in production, too
    maya: Any = get_user_model()._default_manager.get(username="maya")
    account = maya.ontraport_accounts.create(ontraport_id="1", method="api_key", app_id="2_1_x", access_token="the-key")
    browser = Client(HTTP_HOST="shop.example.com")
    browser.force_login(maya)
    key = {"app_id": "2_1_real", "api_key": "the-key-of-a-customer"}
    accept = {"Accept": "application/json"}
    page = browser.post("/ontraport/connect/", secure=True)
    answer = browser.post("/ontraport/connect/", secure=True, headers=accept)
    form = browser.post("/ontraport/connect/key/", key, secure=True)
    json_key = browser.post("/ontraport/connect/key/", key, secure=True, headers=accept)
    return {
        "page": [page.status_code, page.headers.get("Location")],
        "json": [answer.status_code, answer.json()["error"]],
        "key": [form.status_code, "misconfigured" if "set up correctly" in form.content.decode() else "other"],
        "json_key": [json_key.status_code, json_key.json()["error"]],
        "rest": code_of(lambda: account.rest("GET", "objects", params={"objectID": 0})),
        "mcp": code_of(lambda: account.mcp("get_account_info")),
        "accounts": maya.ontraport_accounts.count(),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
