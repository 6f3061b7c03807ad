"""One stand-in for Ontraport for all tests of this folder, reset before each."""

import signal
from collections.abc import Iterator

import pytest

from tests.support.sandbox_client import control, start_sandbox


@pytest.fixture(scope="package")
def sandbox_url() -> Iterator[str]:
    process = start_sandbox("--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Sandbox ready at http://127.0.0.1:"), process.communicate()[1]
    yield line.split()[-1].rstrip("/")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


@pytest.fixture
def url(sandbox_url: str) -> str:
    control(sandbox_url, "reset")
    return sandbox_url
