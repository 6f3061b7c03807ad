"""The official MCP SDK for Python (``mcp``): ``Client`` on ``streamable_http_client``."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.clients.programs.lines import Order, browse, obey


class Storage:
    """Keeps tokens and the registration in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Goes where the client sends a browser, and brings back the callback."""

    def __init__(self) -> None:
        self.callback = ""

    async def redirect(self, url: str) -> None:
        self.callback = browse(url)

    async def answer(self) -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(self.callback).query).items()}
        return AuthorizationCodeResult(code=answer.get("code", ""), state=answer.get("state"), iss=answer.get("iss"))


def oauth(url: str, redirect_uri: str) -> OAuthClientProvider:
    person = Person()
    metadata = OAuthClientMetadata(client_name="MCP SDK", redirect_uris=[AnyUrl(redirect_uri)], scope="mcp:tools")
    return OAuthClientProvider(url, metadata, Storage(), person.redirect, person.answer)


class McpSdk:
    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.client: Client

    async def connect(self, url: str, headers: dict[str, str], redirect_uri: str = "") -> Any:
        auth = oauth(url, redirect_uri) if redirect_uri else None
        http = await self.stack.enter_async_context(httpx2.AsyncClient(headers=headers, auth=auth, timeout=20))
        transport = streamable_http_client(url, http_client=http)
        self.client = await self.stack.enter_async_context(Client(transport))
        return {"version": self.client.protocol_version}

    async def list(self) -> Any:
        return sorted(tool.name for tool in (await self.client.list_tools()).tools)

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        result = await self.client.call_tool(name, arguments)
        text = "".join(getattr(block, "text", "") for block in result.content)
        return {"is_error": result.is_error, "text": text, "structured": result.structured_content}

    async def close(self) -> None:
        await self.stack.aclose()
        self.stack = AsyncExitStack()


if __name__ == "__main__":
    program = McpSdk()
    orders: dict[str, Order] = {
        "connect": program.connect,
        "list": program.list,
        "call": program.call,
        "close": program.close,
    }
    asyncio.run(obey(orders))
