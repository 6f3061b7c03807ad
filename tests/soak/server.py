"""The strict token server of the soak, as a process: it can be told to fail, it knows who asked, and it writes down what became of it.

A process names itself in the ``resource`` of its requests. An access token is good until it expires, also when a newer one was issued.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

from tests.support.servers import HOST
from tests.support.strict_server import Behaviour, Connection, TokenEndpoint


class Endpoint(TokenEndpoint):
    """``answers`` are the refreshes that rotated a grant: when, which, to whom, and whether the answer was cut off; ``ends`` are the grants
    that ended because a spent token came again: when, and from whom.
    """

    def __init__(self, lifetime: float) -> None:
        super().__init__()
        self.lifetime: float = lifetime
        self.good_until: dict[str, float] = {}
        self.asker = ""
        self.answers: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, dict[str, Any]] = {}

    def refresh(self, refresh_token: str) -> tuple[int, dict[str, Any]]:
        name = refresh_token.split(".")[1]
        was_alive = self.grant(name).alive
        status, members = super().refresh(refresh_token)
        if status == 200:
            self.good_until[members["access_token"]] = time.time() + self.lifetime
            is_cut = self.behaviour_for(name).cut
            self.answers[name] = {"at": time.time(), "to": self.asker, "cut": is_cut, "token": members["refresh_token"]}
        elif was_alive:
            self.ends[name] = {"at": time.time(), "by": self.asker, "token": refresh_token}
        return status, members


class Door(Connection):
    endpoint: Endpoint

    def data_received(self, data: bytes) -> None:
        self.received = self.buffer + data
        super().data_received(data)

    def serve(self, path: str, form: dict[str, str]) -> None:
        endpoint = self.endpoint
        if path == "/behave":
            endpoint.behaviours[""] = Behaviour(**json.loads(form["behaviour"]))
            self.send(200, {})
        elif path == "/report":
            self.send(200, {**endpoint.state(), "answers": endpoint.answers, "ends": endpoint.ends})
        elif path == "/mcp":
            token = re.search(rb"(?i)authorization: bearer (\S+)", self.received)
            is_good = token is not None and endpoint.good_until.get(token[1].decode(), 0.0) > time.time()
            self.send(200 if is_good else 401, {"code": 0, "data": []})
        else:
            endpoint.asker = form.get("resource", "").rpartition("/")[2]
            super().serve(path, form)


async def serve(lifetime: float) -> None:
    endpoint = Endpoint(lifetime)
    server = await asyncio.get_running_loop().create_server(lambda: Door(endpoint), HOST, 0, backlog=1000)
    print(f"Ready at http://{HOST}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
