"""The parts of the stand-in's process that need no process: what it says of broken connections, and how it breaks them."""

from __future__ import annotations

import socket

import pytest

from ontraport_connect.sandbox.server import connection
from ontraport_connect.sandbox.server.process import RequestHandler, SandboxServer


@pytest.mark.parametrize(("error", "is_said"), [(BrokenPipeError(), False), (ValueError("a fault of ours"), True)])
def test_only_faults_of_its_own_are_said(
    error: Exception, capsys: pytest.CaptureFixture[str], *, is_said: bool
) -> None:
    server = SandboxServer(("127.0.0.1", 0), RequestHandler)
    try:
        raise error
    except (OSError, ValueError):
        server.handle_error(None, ("127.0.0.1", 1))
    server.server_close()
    assert ("a fault of ours" in capsys.readouterr().err) == is_said


def test_a_connection_is_cut_once() -> None:
    connection.cut()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection.served.socket = ours
        connection.cut()
        assert theirs.recv(1) == b""
    connection.cut()
    connection.served.socket = None
