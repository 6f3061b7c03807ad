"""One stand-in for Ontraport for all tests of this folder, reset before each."""

import signal
from collections.abc import Iterator

import pytest

from ontraport_connect.sandbox import ACCOUNTS, Account, MemoryGrants, StandIn
from tests.support.sandbox_client import control, start_sandbox
from tests.support.stand_in import Caller, Clock


@pytest.fixture(scope="package")
def sandbox_url() -> Iterator[str]:
    process = start_sandbox("--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Sandbox ready at http://127.0.0.1:"), process.communicate()[1]
    yield line.split()[-1].rstrip("/")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.fixture
def url(sandbox_url: str) -> str:
    control(sandbox_url, "reset")
    return sandbox_url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stand_in(clock: Clock) -> StandIn:
    """The stand-in's logic in this process, which nothing is sent to over a network."""
    grants: list[MemoryGrants] = []

    def account_of(token: str) -> Account | None:
        return grants[0].account_of(token)

    stand_in = StandIn("http://stand-in.localhost", account_of, clock=clock)
    grants.append(MemoryGrants(stand_in.switches, clock))
    grants[0].new(ACCOUNTS["agency"], "client", "mcp:tools").access_token = "token-of-agency"
    return stand_in


@pytest.fixture
def caller(stand_in: StandIn) -> Caller:
    return Caller(stand_in)
