"""One account object in the hands of several threads or coroutines: a token that Ontraport no longer takes is refreshed once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import requests
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import override_settings

from ontraport_connect.conf import conf
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import one_account
from ontraport_connect.using import credentials
from tests.support import ontraport
from tests.support.linked import linked_account, person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
CALLERS = 12


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def account(sandbox: Sandbox) -> OntraportAccount:
    """An account whose access token is refused, and whose refresh token is good."""
    account = linked_account(person("maya"), sandbox)
    refused = account.access_token.reveal()
    one_account.refresh(account)
    account.access_token = refused
    account.save()
    sandbox.reset()
    return account


def by_requests(account: OntraportAccount) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(ontraport_url(), json=PING, auth=account.auth()).status_code == 200


def by_httpx(account: OntraportAccount) -> bool:
    with httpx.Client(auth=account.httpx_auth(), trust_env=False) as client:
        return client.post(ontraport_url(), json=PING).status_code == 200


def by_mcp(account: OntraportAccount) -> bool:
    return bool(account.mcp("count_objects", objectID="0") == {"count": 21})


def ontraport_url() -> str:
    return str(conf.ONTRAPORT_MCP_URL)


@pytest.mark.parametrize("call", [by_requests, by_httpx, by_mcp])
def test_threads_that_meet_one_401_refresh_once_and_all_have_their_answer(
    sandbox: Sandbox, account: OntraportAccount, call: Callable[[OntraportAccount], bool]
) -> None:
    together = threading.Barrier(CALLERS)

    def one(_: int) -> bool:
        together.wait(20)
        try:
            return call(account)
        finally:
            connection.close()

    with ThreadPoolExecutor(CALLERS) as threads:
        assert list(threads.map(one, range(CALLERS))) == [True] * CALLERS
    counts = sandbox.state()["counts"]
    assert (counts["token:refresh_token"], counts["reuse_detected"]) == (1, 0)


def test_coroutines_that_meet_one_401_refresh_once_and_all_have_their_answer(
    sandbox: Sandbox, account: OntraportAccount
) -> None:
    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(account.amcp("count_objects", objectID="0") for _ in range(10)))

    assert async_to_sync(all_at_once)() == [{"count": 21}] * 10
    counts = sandbox.state()["counts"]
    assert (counts["token:refresh_token"], counts["reuse_detected"]) == (1, 0)


def test_a_token_that_was_replaced_meanwhile_is_not_refreshed(sandbox: Sandbox, account: OntraportAccount) -> None:
    sent = credentials.snapshot(account)
    one_account.refresh(account)
    credentials.renew(account, sent=sent)
    assert sandbox.state()["counts"]["token:refresh_token"] == 1


def test_a_refresh_keeps_what_the_caller_has_changed_and_not_saved(account: OntraportAccount) -> None:
    account.label = "Main"
    assert by_mcp(account)
    account.save()
    assert OntraportAccount.objects.get().label == "Main"


def test_an_older_refresh_does_not_undo_a_newer_one(account: OntraportAccount) -> None:
    """Of two threads, the one that knows less may come last."""
    sent = credentials.snapshot(account)

    def refresh_after_another(current: OntraportAccount) -> None:
        one_account.refresh(current)
        one_account.refresh(account)  # takes what came
        one_account.refresh(account)

    credentials._update(account, sent, refresh_after_another)
    assert account.version == OntraportAccount.objects.get().version == sent.version + 2
