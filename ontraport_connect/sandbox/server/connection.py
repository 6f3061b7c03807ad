"""The connection that this thread serves, so that an answer can be lost on purpose."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class _Served(threading.local):
    socket: socket.socket | None = None


served = _Served()


def cut() -> None:
    """Cut the connection of this thread, so that the client gets no answer to its request."""
    if served.socket is not None:
        with suppress(OSError):  # the client has gone already
            served.socket.shutdown(socket.SHUT_RDWR)
