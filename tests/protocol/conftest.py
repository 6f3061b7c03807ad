"""A scripted server and a transport, once per module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ontraport_connect.protocol import Transport
from tests.support.hostile_server import HostileServer, hostile_server


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture(scope="module")
def transport() -> Iterator[Transport]:
    with Transport(timeout=(1, 2)) as transport:
        yield transport
