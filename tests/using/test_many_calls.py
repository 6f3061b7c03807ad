"""After many calls of the REST API nothing is left behind, whatever came of them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connections
from django.test import override_settings

from ontraport_connect.exceptions import OntraportError
from ontraport_connect.protocol import close_connections
from tests.support.answering import Answering, Asked, Reply, envelope
from tests.support.linked import key_account, person
from tests.support.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MANY = int(os.environ.get("TEST_REST_CALLS", "600"))
"""Set it to 10,000 for a thorough run."""

THREADS = 6
DESCRIPTORS = Path("/proc/self/fd")


def sockets() -> int:
    """Return the number of open sockets. SQLite keeps the descriptors of closed files for a while."""
    targets = [str(each.readlink()) for each in DESCRIPTORS.iterdir() if each.is_symlink()]
    return sum(target.startswith("socket:") for target in targets)


def reply(asked: Asked) -> Reply | None:
    """Answer well, refuse, fail, say nothing at all, or hang up after the answer: by the number in the path."""
    match int(asked.path.rpartition("/")[2]) % 10:
        case 0:
            return None
        case 1:
            return Reply(status=422, body=b"Invalid object")
        case 2:
            return Reply(status=503)
        case 3:
            return Reply(body=envelope([]).body, headers={"Connection": "close"})
    return envelope([])


@override_settings(ONTRAPORT_RATE_LIMIT=(1000, 0.01))
def test_after_many_calls_no_thread_no_connection_and_no_socket_is_left() -> None:
    account = key_account(person("maya"))
    close_connections()

    def call(number: int) -> None:
        with suppress(OntraportError):
            account.rest("GET", f"Contacts/{number}")

    def calls(numbers: range) -> None:
        for number in numbers:
            call(number)
        connections.close_all()

    with Answering(reply) as server, override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"):
        calls(range(10))
        close_connections()
        wait_until(lambda: not server.connections, "the first connections to be closed")
        connections["default"].ensure_connection()
        threads, before = threading.active_count(), sockets()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(calls, [range(first, MANY, THREADS) for first in range(THREADS)]))
        assert len({asked.path for asked in server.asked}) == MANY
        assert server.connections <= THREADS
        close_connections()
        wait_until(lambda: not server.connections and threading.active_count() <= threads, "all to be closed")
        connections["default"].ensure_connection()
        wait_until(lambda: sockets() <= before, "all sockets to be closed")
