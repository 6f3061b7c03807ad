"""Addresses of the pages, and helpers to read them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from ontraport_connect.models import OntraportAccount

ACCOUNTS = "/ontraport/"
CONNECT = "/ontraport/connect/"
KEY = "/ontraport/connect/key/"


def tenant_of_request(request: HttpRequest) -> str:
    return request.headers.get("X-Tenant", "")


def linked(user: Any, **values: Any) -> OntraportAccount:
    defaults: dict[str, Any] = {"user": user, "label": "Shop", "access_token": "a", "refresh_token": "r"}
    account: OntraportAccount = OntraportAccount.objects.create(**{**defaults, **values})
    return account


def url(name: str, account: OntraportAccount) -> str:
    return reverse(f"ontraport_connect:{name}", args=[account.uid])


def text(response: Any) -> str:
    content: str = response.content.decode()
    return content
