"""A token endpoint that rotates every refresh token, ends the grant of one that is used twice (RFC 9700, 4.14.2), and counts.

It is one asyncio protocol, so that it limits no benchmark. It runs by itself (``python -m tests.support.strict_server``) or in a thread of
the test. A refresh token reads ``r.GRANT.SERIAL``. A grant exists from the first time it is named; its first serial is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from tests.support.servers import HOST, wait_until


@dataclass(kw_only=True)
class Grant:
    """One grant. ``spent_at`` is when its refresh token was last used, by the clock of the endpoint."""

    spent_at: float
    serial: int = 0
    alive: bool = True
    refreshes: int = 0
    reuses: int = 0


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a refresh is answered.

    Without a ``status`` the answer is the correct one. ``hold`` waits for ``release()`` before the grant is looked at (``"before"``) or
    before the answer is sent (``"after"``). ``drip`` sends a byte every tenth of a second. ``cut`` closes the connection.
    """

    status: int = 0
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hold: str = ""
    drip: bool = False
    cut: bool = False


RIGHT = Behaviour()


class TokenEndpoint:
    """The grants, and how the next requests are answered. A refresh token expires after ``longest_unused`` seconds without use. The
    endpoint's clock is ``ahead`` of the machine's by that many seconds.
    """

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}
        self.behaviours: dict[str, Behaviour] = {"": RIGHT}
        self.lifetime: object = 3600
        self.longest_unused = math.inf
        self.ahead = 0.0
        self.requests = 0
        self.holding = 0
        self.most_at_once = 0
        self.at_once = 0
        self.times: list[float] = []
        self.released = asyncio.Event()

    def grant(self, name: str) -> Grant:
        return self.grants.setdefault(name, Grant(spent_at=self.now()))

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def behaviour_for(self, name: str) -> Behaviour:
        return self.behaviours.get(name, self.behaviours[""])

    def refresh(self, refresh_token: str) -> tuple[int, dict[str, Any]]:
        _, name, serial = refresh_token.split(".")
        grant = self.grant(name)
        if int(serial) != grant.serial:
            grant.reuses += 1
            grant.alive = False
        if self.now() - grant.spent_at > self.longest_unused:
            grant.alive = False
        if not grant.alive:
            return 400, {"error": "invalid_grant"}
        grant.spent_at = self.now()
        grant.serial += 1
        grant.refreshes += 1
        return 200, {
            "access_token": f"a.{name}.{grant.serial}",
            "refresh_token": f"r.{name}.{grant.serial}",
            "token_type": "Bearer",
            "expires_in": self.lifetime,
        }

    def revoke(self, refresh_token: str) -> None:
        self.grant(refresh_token.split(".")[1]).alive = False

    def state(self) -> dict[str, Any]:
        refreshes = sum(grant.refreshes for grant in self.grants.values())
        dead = sum(not grant.alive for grant in self.grants.values())
        return {"requests": self.requests, "refreshes": refreshes, "dead": dead, "most_at_once": self.most_at_once}


OPEN: set[asyncio.Transport] = set()
"""The connections that clients keep."""


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection. A client sends its next request after it has the answer to the last."""

    def __init__(self, endpoint: TokenEndpoint) -> None:
        self.endpoint = endpoint
        self.buffer = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        OPEN.add(transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if found and len(body) >= length:
            self.buffer = b""
            self.serve(head.split(b" ")[1].decode(), {name: each[0] for name, each in parse_qs(body.decode()).items()})

    def serve(self, path: str, form: dict[str, str]) -> None:
        if path == "/state":
            self.send(200, {**self.endpoint.state(), "grants": {n: asdict(g) for n, g in self.endpoint.grants.items()}})
        elif path == "/revoke":
            self.endpoint.revoke(form["token"])
            self.send(200, {})
        else:
            self.serve_token(form["refresh_token"])

    def serve_token(self, refresh_token: str) -> None:
        endpoint = self.endpoint
        endpoint.requests += 1
        endpoint.times.append(time.monotonic())
        endpoint.at_once += 1
        endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
        behaviour = endpoint.behaviour_for(refresh_token.split(".")[1])
        if behaviour.hold or behaviour.drip or behaviour.cut:
            task = asyncio.get_running_loop().create_task(
                self.serve_oddly(refresh_token, behaviour), name=behaviour.hold
            )
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        answer = (behaviour.status, dict(behaviour.members)) if behaviour.status else endpoint.refresh(refresh_token)
        asyncio.get_running_loop().call_later(behaviour.delay, self.finish, *answer, behaviour.headers)

    async def serve_oddly(self, refresh_token: str, behaviour: Behaviour) -> None:
        if behaviour.hold == "before":
            await self.wait_for_release()
        status, members = self.endpoint.refresh(refresh_token)
        if behaviour.hold == "after":
            await self.wait_for_release()
        if behaviour.cut:
            self.endpoint.at_once -= 1
            self.transport.close()
            return
        if behaviour.drip:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"." * 600:
                self.transport.write(bytes([byte]))
                await asyncio.sleep(0.1)
        self.finish(status, members, behaviour.headers)

    async def wait_for_release(self) -> None:
        self.endpoint.holding += 1
        await self.endpoint.released.wait()
        self.endpoint.holding -= 1

    def connection_lost(self, error: Exception | None) -> None:
        """Drop the requests that are held before the grant was looked at, since their connection is gone."""
        OPEN.discard(self.transport)
        for task in self.tasks:
            if task.get_name() == "before":
                task.cancel()

    def finish(self, status: int, members: dict[str, Any], headers: Mapping[str, str]) -> None:
        self.endpoint.at_once -= 1
        self.send(status, members, headers)

    def send(self, status: int, members: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(members).encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        self.transport.write(head.encode() + body)


class StrictServer:
    """The endpoint in a thread, for tests. Its members may be read directly, but must be changed in the thread of its loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        self.endpoint = self.run(TokenEndpoint)
        listening = asyncio.run_coroutine_threadsafe(
            self.loop.create_server(lambda: Connection(self.endpoint), HOST, 0, backlog=1000), self.loop
        )
        self.server = listening.result(10)
        self.url = f"http://{HOST}:{self.server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self.end)
        self.run(lambda: None)  # the connections are closed in the next round of the loop
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def end(self) -> None:
        self.server.close()
        for transport in [*OPEN]:
            transport.abort()
        for task in asyncio.all_tasks(self.loop) - {asyncio.current_task(self.loop)}:
            task.cancel()

    def run(self, step: Callable[[], Any]) -> Any:
        """Run ``step`` in the loop's thread and return what it returns."""

        async def call() -> Any:
            return step()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a site that uses this as Ontraport."""
        return settings_for(self.url)

    def reset(self) -> None:
        self.release()
        self.run(self.endpoint.__init__)

    def behave(self, grant: str = "", **behaviour: Any) -> None:
        """Answer refreshes of this grant in this way from now on; without a grant, those of every grant that has no way of its own."""
        self.run(lambda: self.endpoint.behaviours.update({grant: Behaviour(**behaviour)}))

    def release(self) -> None:
        """Release everything that is held, and hold nothing more."""
        self.behave()
        self.run(self.endpoint.released.set)

    def wait_for_held(self, count: int = 1) -> None:
        wait_until(lambda: self.endpoint.holding >= count, f"{count} requests to be held")

    @property
    def dead(self) -> list[str]:
        return [name for name, grant in self.endpoint.grants.items() if not grant.alive]

    @property
    def requests(self) -> int:
        endpoint: TokenEndpoint = self.endpoint
        return endpoint.requests


def settings_for(url: str) -> dict[str, Any]:
    return {
        "ONTRAPORT_CLIENT_ID": "strict-client",
        "ONTRAPORT_CLIENT_SECRET": "strict-secret",
        "ONTRAPORT_ENDPOINTS": {
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "revocation_endpoint": f"{url}/revoke",
        },
        # Nobody is there: accounts of the tests must not be asked for at the real one.
        "ONTRAPORT_MCP_URL": "http://127.0.0.1:1/",
    }


async def serve(port: int, delay: float) -> None:
    endpoint = TokenEndpoint()
    endpoint.behaviours[""] = Behaviour(delay=delay)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(endpoint), HOST, port, backlog=1000)
    print(f"Strict server ready at http://{HOST}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.delay))
