"""Connections whose read timeout bounds the whole response, from its first byte to its last."""

from __future__ import annotations

import http
import http.client
import io
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

from .failures import NotConnected, NotTrusted

Address = tuple[str, str, int]
"""Scheme, host and port of a server."""

monotonic_seconds: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""A clock that nobody sets. Where there is one, it goes on while the machine sleeps, as a lease does."""

LONGEST_LOOKUP = 20.0
"""Seconds beyond the connect timeout after which a new connection is not used.

The connect timeout bounds neither the lookup of the host name nor the attempts at its several addresses together, and stands still while
the machine sleeps. A refresh token that is sent later than this might be sent after its lease has ended.
"""


class _DeadlineReader(io.RawIOBase):
    """Turns the socket's timeout, which bounds a single read, into a deadline for all reads of one response."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = time.monotonic() + (sock.gettimeout() or 0)
        self._is_bounded = True
        """Whether the socket's timeout ends at the deadline. To set it costs a system call, at which threads pass on the GIL."""

    def hurry(self, seconds: float) -> None:
        """Bring the deadline nearer."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        self._is_bounded = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the deadline of the whole answer has passed")
        if not self._is_bounded:
            self._sock.settimeout(remaining)
        self._is_bounded = False  # some of it has passed by the next read
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """A response, all of which has to come until the deadline."""

    def __init__(self, sock: Any, *args: Any, owner: BoundedConnection, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        reader = _DeadlineReader(self.fp.detach(), sock)
        owner.hurry = reader.hurry
        self.fp = io.BufferedReader(reader)

    def _read_status(self) -> tuple[str, int, str]:
        """Pass over answers before the final one (RFC 9110, 15.2): ``http.client`` does so with 100 alone, and would take the final one
        for the answer to the next request.
        """
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:  # ``http.client`` would read all that comes
            raise http.client.HTTPException("a chunk of negative size")
        return size

    def begin(self) -> None:
        """Read status and headers, and refuse malformed headers and lengths that contradict each other.

        The reason phrase is dropped: it has no meaning (RFC 9112, 4), and error reporters keep it.
        """
        super().begin()
        self.reason = ""
        if self.headers.defects or self.headers.get_payload():
            raise http.client.HTTPException("malformed header")
        lengths = {each.strip() for each in ",".join(self.headers.get_all("Content-Length", ())).split(",")}
        if len(lengths) > 1:  # others may believe another one (RFC 9112, 6.3)
            raise http.client.HTTPException("more than one length")
        codings = self.headers.get_all("Transfer-Encoding", ())
        if codings and ([coding.strip().lower() for coding in codings] != ["chunked"] or any(lengths)):
            raise http.client.HTTPException("an unclear end")  # RFC 9112, 6.3

    def read_part(self, most: int) -> bytes:
        """Return the next bytes of the body, or none at its end. Raises ``IncompleteRead`` where it ends before its announced length.

        Returns what is there already, and does not wait for ``most`` bytes: those would be lost where the line fails meanwhile.
        """
        part = self.read1(most)
        if not part and self.length:
            raise http.client.IncompleteRead(b"", self.length)
        if self.length == 0:
            self.close()  # as ``read`` does, and ``read1`` of newer versions of Python
        return part


class BoundedConnection(HTTPConnection):
    """A connection whose timeout, once a request is sent, bounds the whole response. ``address`` is that of the server."""

    address: Address
    idle_since: float = 0.0
    _pieces: list[Any] | None = None
    """Collects what is sent, while a request is put together."""
    hurry: Callable[[float], None]
    """Brings the deadline of the response that is being read nearer, to so many seconds from now."""

    @property
    def response_class(self) -> Any:  # type: ignore[override]
        return partial(BoundedResponse, owner=self)

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> BoundedResponse:
        """Send a request in one piece, and return its response once the headers are there.

        ``timeout`` is in seconds, to the last byte of the response's body. This is ``http.client``; what urllib3 wraps around it is not
        needed here, and takes as long as all the rest.
        """
        self.sock.settimeout(self.timeout)
        self._pieces = []
        self.putrequest(method, target)
        for name, value in headers.items():
            http.client.HTTPConnection.putheader(self, name, value)
        self.endheaders(body)
        request, self._pieces = b"".join(self._pieces), None
        self.send(request)
        self.sock.settimeout(timeout)
        response: BoundedResponse = http.client.HTTPConnection.getresponse(self)  # type: ignore[assignment]
        return response

    def send(self, data: Any) -> None:
        if self._pieces is None:
            super().send(data)
        else:
            self._pieces.append(data)

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and nothing has come unasked, which would be taken for the next answer, not even in a record of TLS."""
        return self.is_connected and not getattr(self.sock, "pending", int)()

    def connect(self) -> None:
        """Connect, through TLS and the proxy if there are any. Nothing of a request has been sent when it raises."""
        started = monotonic_seconds()
        try:
            super().connect()
        except ssl.SSLError:
            raise NotTrusted from None
        except (TimeoutError, ConnectionError):
            raise
        except OSError:  # such as the refusal of a proxy
            raise NotConnected from None
        if monotonic_seconds() - started > float(self.timeout or 0) + LONGEST_LOOKUP:
            raise ConnectTimeoutError(self, "the connection took too long to be made")


class BoundedTLSConnection(BoundedConnection, HTTPSConnection):
    """The same, through TLS."""
