"""Calls of an MCP tool over https, side by side: a held session of the official SDK, a session of it a call, and `account.mcp`.

The server is one of the SDK, in a process of its own with a certificate of this run. The ways take turns, and of each the best turn counts.
`account.mcp` also reads who owns the link, and counts each call in Redis: the SDK does neither. Requests a call are those of the last turn.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp
from asgiref.sync import async_to_sync, sync_to_async
from django.test import override_settings
from mcp.client.streamable_http import streamable_http_client

from ontraport_connect.models import OntraportAccount
from ontraport_connect.using import mcp_requests
from tests.benchmarks.site import Site
from tests.support.linked import key_account, person
from tests.support.sdk_server import SdkServer, sdk_server

TOOL, ARGUMENTS = "count", {"objectID": "123"}
AT_ONCE = 10
ROUNDS = 5

Turn = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def client_of_the_sdk(server: SdkServer, context: ssl.SSLContext, mode: str) -> Any:
    async with (
        httpx2.AsyncClient(verify=context, headers={"Authorization": "Bearer token"}) as http,
        mcp.Client(streamable_http_client(server.url, http_client=http), mode=mode) as client,
    ):
        yield client


def repeated(call: Callable[[], Awaitable[Any]]) -> Turn:
    async def turn(count: int) -> None:
        for _ in range(count):
            await call()

    return turn


def ways(
    server: SdkServer, context: ssl.SSLContext, held: Mapping[str, Any], account: OntraportAccount
) -> dict[str, Turn]:
    def with_held(mode: str) -> Turn:
        return repeated(lambda: held[mode].call_tool(TOOL, ARGUMENTS))

    async def session_and_call() -> None:
        async with client_of_the_sdk(server, context, "legacy") as client:
            await client.call_tool(TOOL, ARGUMENTS)

    @sync_to_async
    def ours(count: int) -> None:
        for _ in range(count):
            account.mcp(TOOL, **ARGUMENTS)

    async def ours_at_once(count: int) -> None:
        for _ in range(count // AT_ONCE):
            await asyncio.gather(*(account.amcp(TOOL, **ARGUMENTS) for _ in range(AT_ONCE)))

    return {
        "SDK, held session": with_held("legacy"),
        "SDK, newer protocol (auto)": with_held("auto"),
        "SDK, a session a call": repeated(session_and_call),
        "account.mcp": ours,
        f"account.amcp, {AT_ONCE} at once": ours_at_once,
    }


async def in_turns(server: SdkServer, account: OntraportAccount, calls: int, rounds: int) -> list[dict[str, Any]]:
    context = ssl.create_default_context(cafile=server.bundle)
    best: dict[str, float] = {}
    sent: dict[str, float] = {}
    async with (
        client_of_the_sdk(server, context, "legacy") as legacy,
        client_of_the_sdk(server, context, "auto") as newer,
    ):
        made = ways(server, context, {"legacy": legacy, "auto": newer}, account)
        for name, turn in [*made.items()] * rounds:
            before = await asyncio.to_thread(server.requests)
            started = time.perf_counter()
            await turn(calls)
            took = (time.perf_counter() - started) / calls
            best[name] = min(took, best.get(name, took))
            sent[name] = (await asyncio.to_thread(server.requests) - before) / calls
    peer = best["SDK, held session"]
    return [
        {
            "way": name,
            "ms a call": round(took * 1000, 2),
            "calls a second": round(1 / took),
            "ratio": round(took / peer, 2),
            "requests a call": round(sent[name], 2),
        }
        for name, took in best.items()
    ]


def measure(site: Site, calls: int, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """``calls`` are those of one turn."""
    with (
        tempfile.TemporaryDirectory() as folder,
        sdk_server(Path(folder), "--tls", folder) as server,
        override_settings(
            ONTRAPORT_MCP_URL=server.url,
            ONTRAPORT_CA_BUNDLE=server.bundle,
            ONTRAPORT_RATE_LIMIT=(10_000, 1),
            CELERY_BROKER_URL=site.valkey.url,
        ),
    ):
        rows = async_to_sync(in_turns)(server, key_account(person("maya")), calls, rounds)
        mcp_requests.end_all()
    return rows
