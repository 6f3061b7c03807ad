"""Sends every request to Ontraport: bounded in time and size, and to no address but the one asked for.

Redirects are not followed, cookies not kept, requests not retried; proxies and ``.netrc`` are not read from the environment.

Frames that see plain secrets return their failures instead of raising them, so that a traceback with local variables shows no secret.
The operating system looks up host names, with a time limit of its own on top of ours.
"""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from billiard.exceptions import SoftTimeLimitExceeded
from requests.structures import CaseInsensitiveDict

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError

from .answer import Answer, is_event_stream
from .connections import Connections, shared_connections
from .deadline import BoundedConnection, BoundedResponse
from .failures import failure_code, unavailable
from .request import Request, prepared
from .route import DIRECT, Route
from .secure_urls import require_secure
from .wire import plugged_in

MESSAGE_LIMIT = 256 * 1024
CHUNK = 16 * 1024

END_WITHIN = 0.1
"""Seconds that the end of an event stream is waited for once enough of it has come. Later than that, the connection is not kept."""


class Expected(NamedTuple):
    """What is expected of an answer, as in ``Transport.send``."""

    limit: int
    until: Callable[[bytes], bool] | None
    is_whole: Callable[[bytes], bool] | None


class Transport:
    """Sends requests over kept-alive connections. Threads may share it.

    ``timeout`` is in seconds: to connect, and to the last byte of the answer. Connections of its own are closed when it is left; those
    of the process (see ``shared_transport``) stay open for the next.
    """

    def __init__(self, *, timeout: tuple[float, float], connections: Connections | None = None) -> None:
        self._timeout = timeout
        self._connections = Connections() if connections is None else connections
        self._is_own = connections is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_own:
            self._connections.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str | Secret] | None = None,
        document: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        limit: int = MESSAGE_LIMIT,
        until: Callable[[bytes], bool] | None = None,
        is_whole: Callable[[bytes], bool] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer, of at most ``limit`` bytes before and after decompression.

        ``until`` is given an event stream in pieces, and tells when enough of it has come. ``is_whole`` is given the body of a message that
        was cut, and tells whether nothing of it is missing.
        Raises ``OntraportUnavailable`` when no complete answer came in time, ``OntraportMisconfigured`` when ``url`` is not https.
        """
        require_secure(url)
        answer = self._attempt(
            method, url, Expected(limit, until, is_whole), form=form, document=document, headers=headers or {}
        )
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _attempt(
        self,
        method: str,
        url: str,
        expected: Expected,
        *,
        form: Mapping[str, str | Secret] | None,
        document: Mapping[str, Any] | None,
        headers: Mapping[str, str | Secret],
    ) -> Answer | BaseException:
        """Return the answer, or the exception to raise.

        Plain secrets exist in this frame and below only. Interruptions (Ctrl-C, a soft time limit, gevent's timeout) are therefore
        returned as well, without their traceback.
        """
        try:
            request = prepared(method, url, form=form, document=document, headers=headers)
            answer = self._answer(request, expected)
        except OntraportError as error:
            return error.with_traceback(None)
        except SoftTimeLimitExceeded as error:
            return without_frames(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, its frames hold secrets
            return unavailable(failure_code(error))
        except BaseException as error:  # noqa: BLE001  # raised by ``send``
            return without_frames(error)
        return unavailable("too_large") if answer is None else answer

    def _answer(self, request: Request, expected: Expected) -> Answer | None:
        """Return the answer, or ``None`` when its body is too long. A test may have plugged in what answers."""
        wire = plugged_in()
        if wire is not None:
            return wire.answer(request.method, request.url, CaseInsensitiveDict(request.headers), request.body or b"")
        return self._exchange(request, expected)

    def _exchange(self, request: Request, expected: Expected) -> Answer | None:
        """Send the request and read the answer. The connection is closed whatever is raised, and when the body is too long."""
        connect_timeout, read_timeout = self._timeout
        connection = self._connections.take(request.method, request.url, connect_timeout)
        response = None
        try:
            response = connection.ask(request.method, request.target, request.headers, request.body, read_timeout)
            headers = _joined(response.headers)
            if expected.until is not None and is_event_stream(headers):
                body = read_events(response, connection, expected.limit, expected.until)
            else:
                body = read_bounded(response, connection, headers.get("Content-Encoding", "identity"), expected)
        except BaseException:
            if response is not None:
                response.close()
            connection.close()
            raise
        self._connections.give_back(connection, response)
        return None if body is None else Answer(status=response.status, headers=headers, body=body)


def shared_transport(*, timeout: tuple[float, float], route: Route = DIRECT) -> Transport:
    """Return a transport over the connections of this process, which stay open when it is left. ``timeout`` as in ``Transport``."""
    return Transport(timeout=timeout, connections=shared_connections(route))


def without_frames(error: BaseException) -> BaseException:
    """Return the exception without its traceback and context, whose frames hold secrets."""
    error.__context__ = None
    return error.with_traceback(None)


def _joined(headers: http.client.HTTPMessage) -> Mapping[str, str]:
    """Return headers in any case, those of one name joined (RFC 9110, 5.3)."""
    joined: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for name, value in headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def read_bounded(
    response: BoundedResponse, connection: BoundedConnection, encoding: str, expected: Expected
) -> bytes | None:
    """Return the body, or ``None`` when it has more than ``limit`` bytes, as sent or decompressed.

    The connection is closed when the message was cut although the body ``is_whole``.
    """
    body = bytearray()
    try:
        while chunk := response.read_part(CHUNK):
            body += chunk
            if len(body) > expected.limit:
                return None
    except (http.client.IncompleteRead, OSError):
        if expected.is_whole is None or not expected.is_whole(bytes(body)):
            raise
        connection.close()
    return _decompressed(bytes(body), encoding.lower(), expected.limit)


def read_events(
    response: BoundedResponse, connection: BoundedConnection, limit: int, until: Callable[[bytes], bool]
) -> bytes | None:
    """Return an event stream as far as it is needed, or ``None`` when that is more than ``limit`` bytes.

    The connection is closed when the stream does not end soon after that.
    """
    body, is_enough = bytearray(), False
    try:
        while chunk := response.read_part(CHUNK):
            body += chunk
            if limit < len(body):
                return None
            if not is_enough and until(chunk):
                is_enough = True
                connection.hurry(END_WITHIN)
    except (http.client.HTTPException, OSError):
        if not is_enough:
            raise
        connection.close()
    return bytes(body)


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes | None:
    """Return the decoded body, or ``None`` when it has more than ``limit`` bytes. Only gzip is known: no encoding was asked for."""
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise ValueError("an encoding that was not asked for")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    text = inflater.decompress(body, limit + 1)
    if len(text) > limit:
        return None
    if not inflater.eof or inflater.unused_data:
        raise ValueError("not one whole gzip member")
    return text
