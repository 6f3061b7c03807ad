"""Auth objects for requests, httpx and the official MCP client: they keep credentials fresh and send them to Ontraport only."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
import requests
from asgiref.sync import async_to_sync, sync_to_async
from django.test import override_settings
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import one_account
from tests.support import ontraport
from tests.support.answering import Answering, Reply
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def account(sandbox: Sandbox) -> OntraportAccount:
    return linked_account(person("maya"), sandbox)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def rotate(account: OntraportAccount) -> None:
    """Refresh the account elsewhere, so that Ontraport no longer accepts the access token that the caller holds."""
    one_account.refresh(OntraportAccount.objects.get(pk=account.pk))


def elsewhere(server: Answering) -> Any:
    return override_settings(ONTRAPORT_MCP_URL=server.url, ONTRAPORT_REST_URL=f"{server.url}/1/")


def test_a_requests_session_lives_through_a_rotation_without_noticing(
    sandbox: Sandbox, account: OntraportAccount, session: requests.Session
) -> None:
    session.auth = account.auth()
    assert session.post(sandbox.url, json=PING).json()["result"] == {}
    rotate(account)
    response = session.post(sandbox.url, json=PING)
    assert (response.status_code, [each.status_code for each in response.history]) == (200, [401])
    assert session.post(sandbox.url, json=PING).history == []
    counts = sandbox.state()["counts"]
    assert (counts["token:refresh_token"], counts["reuse_detected"]) == (1, 0)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_an_httpx_client_lives_through_a_rotation_without_noticing(
    sandbox: Sandbox, account: OntraportAccount, library: Any
) -> None:
    with library.Client(auth=account.httpx_auth(), trust_env=False) as client:
        assert client.post(sandbox.url, json=PING).json()["result"] == {}
        rotate(account)
        assert client.post(sandbox.url, json=PING).status_code == 200
    counts = sandbox.state()["counts"]
    assert (counts["token:refresh_token"], counts["reuse_detected"]) == (1, 0)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_an_async_httpx_client_too(sandbox: Sandbox, account: OntraportAccount, library: Any) -> None:
    async def talk() -> list[int]:
        async with library.AsyncClient(auth=account.httpx_auth(), trust_env=False) as client:
            before = await client.post(sandbox.url, json=PING)
            await sync_to_async(rotate)(account)
            after = await client.post(sandbox.url, json=PING)
            return [before.status_code, after.status_code]

    assert async_to_sync(talk)() == [200, 200]
    counts = sandbox.state()["counts"]
    assert (counts["token:refresh_token"], counts["reuse_detected"]) == (1, 0)


def test_the_official_mcp_client_lives_through_a_rotation_without_noticing(
    sandbox: Sandbox, account: OntraportAccount
) -> None:
    async def talk() -> list[Any]:
        async with (
            httpx2.AsyncClient(auth=account.httpx_auth(), trust_env=False) as http,
            McpClient(streamable_http_client(sandbox.url, http_client=http), mode="legacy") as client,
        ):
            before = await client.call_tool("count_objects", {"objectID": "0"})
            await sync_to_async(rotate)(account)
            after = await client.call_tool("count_objects", {"objectID": "0"})
            return [before.structured_content, after.structured_content]

    assert async_to_sync(talk)() == [{"count": 21}, {"count": 21}]
    counts = sandbox.state()["counts"]
    assert (counts["token:refresh_token"], counts["reuse_detected"]) == (1, 0)


def test_a_token_about_to_end_is_refreshed_before_it_is_sent(
    sandbox: Sandbox, account: OntraportAccount, session: requests.Session
) -> None:
    with override_settings(ONTRAPORT_LEEWAY=7200):
        assert session.post(sandbox.url, json=PING, auth=account.auth()).history == []
    assert sandbox.state()["counts"]["token:refresh_token"] == 1


def test_a_401_that_stays_is_one_refresh_and_one_retry(
    sandbox: Sandbox, account: OntraportAccount, session: requests.Session
) -> None:
    with Answering(lambda asked: Reply(status=401, body=b"no")) as server, elsewhere(server):
        assert session.post(f"{server.url}/", json=PING, auth=account.auth()).status_code == 401
        with httpx.Client(auth=account.httpx_auth(), trust_env=False) as client:
            assert client.post(f"{server.url}/", json=PING).status_code == 401
    tokens = [asked.headers["Authorization"] for asked in server.asked]
    assert (len(tokens), len(set(tokens))) == (4, 3)
    assert sandbox.state()["counts"]["token:refresh_token"] == 2


def replying(*statuses: int) -> Answering:
    left = iter(statuses)
    return Answering(lambda asked: Reply(status=next(left)))


def test_the_retry_takes_a_turn_of_its_own_and_is_listened_to(
    account: OntraportAccount, session: requests.Session
) -> None:
    slow_down = iter([Reply(status=401), Reply(status=429, headers={"Retry-After": "30"})])
    with Answering(lambda asked: next(slow_down)) as server, elsewhere(server):
        assert session.post(f"{server.url}/", json=PING, auth=account.auth()).status_code == 429
        with override_settings(ONTRAPORT_RATE_WAIT=0), pytest.raises(OntraportUnavailable) as refused:
            session.post(f"{server.url}/", json=PING, auth=account.auth())
    assert (refused.value.code, len(server.asked)) == ("rate_limited", 2)


@pytest.mark.parametrize("body", [b"contents", "contents", io.BytesIO(b"contents")])
def test_the_body_is_sent_again_from_where_it_began(
    account: OntraportAccount, session: requests.Session, body: Any
) -> None:
    with replying(401, 200) as server, elsewhere(server):
        assert session.post(f"{server.url}/", data=body, auth=account.auth(), timeout=3).status_code == 200
    assert [asked.body for asked in server.asked] == [b"contents", b"contents"]


def test_a_body_that_is_used_up_is_not_sent_again(account: OntraportAccount, session: requests.Session) -> None:
    def chunks() -> Iterator[bytes]:
        yield b""

    with replying(401, 200) as server, elsewhere(server):
        assert session.post(f"{server.url}/", data=chunks(), auth=account.auth()).status_code == 401
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_with_credentials(
    account: OntraportAccount, session: requests.Session, status: int
) -> None:
    with Answering(lambda asked: Reply()) as thief:
        away = Reply(status=status, headers={"Location": thief.url})
        with Answering(lambda asked: away) as server, elsewhere(server), pytest.raises(OntraportRejected) as raised:
            session.post(f"{server.url}/", json=PING, auth=account.auth())
        assert raised.value.code == "redirect"
        replies = iter([Reply(status=401), away])
        with Answering(lambda asked: next(replies)) as server, elsewhere(server), pytest.raises(OntraportRejected):
            session.post(f"{server.url}/", json=PING, auth=account.auth())
        client = httpx.Client(auth=account.httpx_auth(), trust_env=False)
        with Answering(lambda asked: away) as server, elsewhere(server), client:
            assert client.post(f"{server.url}/", json=PING).status_code == status
    assert thief.asked == []


def test_httpx_that_follows_redirects_leaves_the_credentials_behind(sandbox: Sandbox) -> None:
    account = key_account(person("tomas"))
    with Answering(lambda asked: Reply()) as thief:
        away = Reply(status=307, headers={"Location": f"{thief.url.replace('127.0.0.1', 'localhost')}/"})
        with Answering(lambda asked: away) as server, elsewhere(server):
            auth = account.httpx_auth()
            with httpx.Client(auth=auth, trust_env=False, follow_redirects=True) as client:
                client.post(f"{server.url}/", json=PING)
    assert [asked.headers.get("Authorization") for asked in server.asked] == [
        "Bearer 2_187157_sandbox:sandbox-key-owner"
    ]
    assert [(asked.headers.get("Authorization"), asked.headers.get("Api-Key")) for asked in thief.asked] == [
        (None, None)
    ]


@pytest.mark.parametrize("url", ["https://attacker.example/", "https://mcp.ontraport.com.attacker.example/"])
def test_credentials_are_attached_for_the_configured_hosts_only(
    account: OntraportAccount, session: requests.Session, url: str
) -> None:
    with pytest.raises(OntraportRejected) as raised:
        session.get(url, auth=account.auth())
    assert raised.value.code == "destination"
    with httpx.Client(auth=account.httpx_auth(), trust_env=False) as client, pytest.raises(OntraportRejected):
        client.get(url)


def test_an_oauth_account_is_not_sent_to_rest(sandbox: Sandbox, account: OntraportAccount) -> None:
    with override_settings(ONTRAPORT_REST_URL="https://api.ontraport.com/1/"):
        with pytest.raises(OntraportRejected, match="API keys only"):
            requests.get("https://api.ontraport.com/1/objects", auth=account.auth(), timeout=5)
        with (
            httpx.Client(auth=account.httpx_auth()) as client,
            pytest.raises(OntraportRejected, match=r"account\.rest"),
        ):
            client.get("https://api.ontraport.com/1/objects")


def test_a_key_pair_with_requests(sandbox: Sandbox, session: requests.Session) -> None:
    account = key_account(person("tomas"))
    response = session.get(f"{sandbox.url}/1/objects?objectID=0&range=1", auth=account.auth())
    assert response.json()["account_id"] == 187157
    account.access_token = "wrong"
    assert session.get(f"{sandbox.url}/1/objects?objectID=0", auth=account.auth()).status_code == 401


@override_settings(ONTRAPORT_RATE_LIMIT=(2, 0.4))
def test_requests_and_httpx_take_turns(sandbox: Sandbox, session: requests.Session) -> None:
    account = key_account(person("tomas"))
    sandbox.set(rate_limit=2, rate_window=0.4)
    with httpx.Client(auth=account.httpx_auth(), trust_env=False) as client:
        for _ in range(3):
            session.get(f"{sandbox.url}/1/objects?objectID=0", auth=account.auth())
        for _ in range(3):
            client.post(sandbox.url, json=PING)

    async def talk() -> int:
        async with httpx2.AsyncClient(auth=account.httpx_auth(), trust_env=False) as client:
            return [await client.post(sandbox.url, json=PING) for _ in range(3)][-1].status_code

    assert async_to_sync(talk)() == 200
    assert sandbox.state()["counts"]["rate_limited"] == 0


@override_settings(ONTRAPORT_RATE_WAIT=1)
@pytest.mark.parametrize("kind", ["requests", "httpx"])
def test_a_429_holds_back_whoever_comes_next(kind: str, session: requests.Session) -> None:
    account = key_account(person("tomas"))
    limited = Reply(status=429, headers={"X-Rate-Limit-Reset": "30"})
    with Answering(lambda asked: limited) as server, elsewhere(server):
        if kind == "requests":
            assert session.get(f"{server.url}/1/objects", auth=account.auth()).status_code == 429
        else:
            with httpx.Client(auth=account.httpx_auth(), trust_env=False) as client:
                assert client.post(server.url, json=PING).status_code == 429
        with pytest.raises(OntraportUnavailable) as raised:
            account.rest("GET", "objects")
    assert (raised.value.code, len(server.asked)) == ("rate_limited", 1)


def test_a_grant_that_was_taken_back_is_said_with_its_account(
    sandbox: Sandbox, account: OntraportAccount, session: requests.Session
) -> None:
    sandbox.revoke()
    with pytest.raises(ReconnectRequired) as raised:
        session.post(sandbox.url, json=PING, auth=account.auth())
    assert raised.value.account_uid == account.uid
    assert OntraportAccount.objects.get().status == Status.NEEDS_RECONNECT


def test_the_credentials_of_a_request_are_those_of_its_account(
    sandbox: Sandbox, account: OntraportAccount, session: requests.Session
) -> None:
    other = linked_account(person("tomas"), sandbox, username="agency")
    call = {**PING, "method": "tools/call", "params": {"name": "get_account_info"}}
    names = [
        json.loads(session.post(sandbox.url, json=call, auth=each.auth()).content)["result"]["structuredContent"][
            "name"
        ]
        for each in (account, other, account)
    ]
    assert names == ["Harbour Street Coffee", "Northlight Agency", "Harbour Street Coffee"]
