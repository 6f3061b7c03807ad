"""FastMCP's client (``fastmcp``): ``Client`` on ``StreamableHttpTransport``, with its ``OAuth`` where no headers are given."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastmcp import Client
from fastmcp.client.auth import OAuth
from fastmcp.client.transports import StreamableHttpTransport
from mcp.client.auth import AuthorizationCodeResult

from tests.clients.programs.lines import Order, browse, obey


class PersonalOAuth(OAuth):  # type: ignore[misc,no-any-unimported,unused-ignore]
    """FastMCP opens a browser and waits for the callback on a port. Here a person is asked for instead."""

    callback = ""

    async def redirect_handler(self, authorization_url: str) -> None:
        self.callback = browse(authorization_url)

    async def callback_handler(self) -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(self.callback).query).items()}
        return AuthorizationCodeResult(code=answer.get("code", ""), state=answer.get("state"), iss=answer.get("iss"))


class FastMcp:
    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.client: Any = None

    async def connect(self, url: str, headers: dict[str, str], redirect_uri: str = "") -> Any:
        auth = PersonalOAuth(url, scopes="mcp:tools") if redirect_uri else None
        self.client = Client(StreamableHttpTransport(url, headers=headers, auth=auth), timeout=20)
        await self.stack.enter_async_context(self.client)
        return {"version": self.client.protocol_version}

    async def list(self) -> Any:
        return sorted(tool.name for tool in await self.client.list_tools())

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        result = await self.client.call_tool_mcp(name, arguments)
        text = "".join(getattr(block, "text", "") for block in result.content)
        return {"is_error": result.is_error, "text": text, "structured": result.structured_content}

    async def close(self) -> None:
        await self.stack.aclose()
        self.stack = AsyncExitStack()


if __name__ == "__main__":
    program = FastMcp()
    orders: dict[str, Order] = {
        "connect": program.connect,
        "list": program.list,
        "call": program.call,
        "close": program.close,
    }
    asyncio.run(obey(orders))
