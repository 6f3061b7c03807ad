"""How long calls wait for their turn: seconds in a web request, ``ONTRAPORT_RATE_WAIT`` elsewhere, and what ``budget.patience`` says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from ontraport_connect import budget
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.using import rate_limiter, waiting
from tests.support.linked import key_account, person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def sync_view(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"wait": waiting.longest_wait()})


async def async_view(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"wait": waiting.longest_wait()})


def patient_view(request: HttpRequest) -> JsonResponse:
    with budget.patience(30):
        return sync_view(request)


def calling_view(request: HttpRequest) -> JsonResponse:
    account = OntraportAccount.objects.get()
    try:
        account.rest("GET", "objects")
    except OntraportUnavailable as error:
        return JsonResponse({"code": error.code}, status=503)
    raise AssertionError


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("patient/", patient_view),
    path("calling/", calling_view),
]


def asked(address: str, *, by: Any) -> Any:
    get = async_to_sync(by.get) if isinstance(by, AsyncClient) else by.get
    return get(address).json()["wait"]


@pytest.mark.parametrize("client", [Client(), AsyncClient()], ids=["WSGI", "ASGI"])
@pytest.mark.parametrize("address", ["/sync/", "/async/"])
def test_a_web_request_waits_for_seconds_and_other_code_as_the_site_says(client: Any, address: str) -> None:
    assert (waiting.longest_wait(), asked(address, by=client), waiting.longest_wait()) == (90, 5, 90)
    with override_settings(ONTRAPORT_RATE_WAIT=2):
        assert (asked(address, by=client), waiting.longest_wait()) == (2, 2)


def test_a_view_may_have_more_patience() -> None:
    assert asked("/patient/", by=Client()) == 30


@override_settings(ONTRAPORT_RATE_LIMIT=(1, 60))
def test_a_page_of_a_busy_account_keeps_no_thread_from_others(client: Client) -> None:
    """Reloading it sixty times took all threads of a site for a minute."""
    account = key_account(person("maya"), method=Method.API_KEY)
    rate_limiter.reserve(account, patience=0)
    started = time.monotonic()
    response = client.get("/calling/")
    assert (response.status_code, response.json()) == (503, {"code": "rate_limited"})
    assert time.monotonic() - started < 5
