"""A ``requests`` adapter whose read timeout bounds the whole response, from its first byte to its last."""

from __future__ import annotations

import http.client
import io
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError

LONGEST_LOOKUP = 20.0
"""Seconds beyond the connect timeout after which a new connection is not used.

The connect timeout bounds neither the lookup of the host name nor the attempts at its several addresses together. A refresh token that
is sent later than this might be sent after its lease has ended.
"""


class _DeadlineReader(io.RawIOBase):
    """Turns the socket's timeout, which bounds a single read, into a deadline for all reads of one response."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = time.monotonic() + (sock.gettimeout() or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the deadline of the whole answer has passed")
        self._sock.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))

    def begin(self) -> None:
        """Read status and headers, and refuse malformed headers, which urllib3 would write to its log.

        The reason phrase is dropped: it has no meaning (RFC 9112, 4), and error reporters keep it.
        """
        super().begin()
        self.reason = ""
        if self.headers.defects or self.headers.get_payload():
            raise http.client.HTTPException("malformed header")


class _BoundedHTTPConnection(HTTPConnection):
    response_class = _BoundedResponse

    def connect(self) -> None:
        started = time.monotonic()
        super().connect()
        if time.monotonic() - started > float(self.timeout or 0) + LONGEST_LOOKUP:
            self.close()
            raise ConnectTimeoutError(self, "the connection took too long to be made")


class _BoundedHTTPSConnection(_BoundedHTTPConnection, HTTPSConnection):
    """The same, through TLS."""


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


class BoundedAdapter(HTTPAdapter):
    """A ``requests`` adapter whose read timeout bounds the whole response, and which retries nothing."""

    def __init__(self, pool_size: int = 1) -> None:
        super().__init__(pool_connections=4, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def close(self) -> None:
        """Close every connection now. urllib3 closes them when the pool is freed, which after an error is whenever garbage is collected."""
        for key in self.poolmanager.pools.keys():  # noqa: SIM118  # it cannot be iterated
            self.poolmanager.pools[key].close()
        super().close()
