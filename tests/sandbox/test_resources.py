"""The stand-in's REST API and MCP server, and the rate limit that they share."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
import requests
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.sandbox_client import (
    KEY_PAIR,
    Attempt,
    bearer,
    call,
    control,
)


def test_rest_wants_both_keys_and_says_so_in_plain_text(url: str) -> None:
    tokens = Attempt(url).link()
    for headers in ({}, KEY_PAIR | {"Api-Key": "wrong"}, {"Api-Appid": KEY_PAIR["Api-Appid"]}, bearer(tokens)):
        response = requests.get(f"{url}/1/objects/getInfo?objectID=0", headers=headers, timeout=10)
        assert response.status_code == 401
        assert response.headers["Content-Type"].startswith("text/html")
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
    stream = {"Accept": "text/event-stream", **KEY_PAIR}
    assert requests.get(url, headers=stream, timeout=10).status_code == 405
    assert requests.delete(url, headers=KEY_PAIR, timeout=10).status_code == 405


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
    result = call(url, KEY_PAIR, "tools/call", name="get_objects", arguments={"objectID": 99}).json()["result"]
    assert result["isError"]
    assert "it has no object type 99" in result["content"][0]["text"]
    assert call(url, KEY_PAIR, "tools/call", name="drop_everything").json()["error"]["code"] == -32602


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
    assert tools[:4] == ["get_account_info", "list_allowed_object_types", "get_objects", "count_objects"]
    assert account["account_id"] == 187157
    assert counted == {"count": 21}
