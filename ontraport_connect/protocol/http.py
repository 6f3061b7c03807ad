"""Sends every request to Ontraport: bounded in time and size, and to no address but the one asked for.

Redirects are not followed, cookies not kept, requests not retried; proxies and ``.netrc`` are not read from the environment.

Frames that see plain secrets return their failures instead of raising them, so that a traceback with local variables shows no secret.
The operating system looks up host names, with a time limit of its own on top of ours.
"""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlencode

import requests
import urllib3
from billiard.exceptions import SoftTimeLimitExceeded
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from ontraport_connect import __version__
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError

from .answer import Answer, is_event_stream
from .connections import Connections, shared_connections
from .deadline import BoundedConnection
from .failures import failure_code, unavailable
from .route import DIRECT, Route
from .secure_urls import require_secure
from .wire import plugged_in

USER_AGENT = f"django-ontraport-connect/{__version__}"
MESSAGE_LIMIT = 256 * 1024
CHUNK = 16 * 1024

END_WITHIN = 0.1
"""Seconds that the end of an event stream is waited for once enough of it has come. Later than that, the connection is not kept."""


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
    ) -> Answer:
        """Send one request and read the whole answer, of at most ``limit`` bytes before and after decompression.

        ``until`` is given an event stream in pieces, and tells when enough of it has come.
        Raises ``OntraportUnavailable`` when no complete answer came in time, ``OntraportMisconfigured`` when ``url`` is not https.
        """
        require_secure(url)
        answer = self._attempt(
            method, url, form=form, document=document, headers=headers or {}, limit=limit, until=until
        )
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _attempt(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str | Secret] | None,
        document: Mapping[str, Any] | None,
        headers: Mapping[str, str | Secret],
        limit: int,
        until: Callable[[bytes], bool] | None,
    ) -> Answer | BaseException:
        """Return the answer, or the exception to raise.

        Plain secrets exist in this frame and below only. Interruptions (Ctrl-C, a soft time limit, gevent's timeout) are therefore
        returned as well, without their traceback.
        """
        try:
            request = requests.Request(
                method,
                url,
                data=None if form is None else urlencode({name: reveal(value) for name, value in form.items()}),
                json=document,
                headers={
                    "Accept": "application/json",
                    "User-Agent": USER_AGENT,
                    **({"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}),
                    **{name: reveal(value) for name, value in headers.items()},
                },
            ).prepare()
            answer = self._answer(request, limit, until)
        except OntraportError as error:
            return error.with_traceback(None)
        except SoftTimeLimitExceeded as error:
            return without_frames(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, its frames hold secrets
            return unavailable(failure_code(error))
        except BaseException as error:  # noqa: BLE001  # raised by ``send``
            return without_frames(error)
        return unavailable("too_large") if answer is None else answer

    def _answer(
        self, request: requests.PreparedRequest, limit: int, until: Callable[[bytes], bool] | None
    ) -> Answer | None:
        """Return the answer, or ``None`` when its body is too long. A test may have plugged in what answers."""
        wire = plugged_in()
        if wire is not None:
            return wire.answer(str(request.method), str(request.url), request.headers, body_of(request))
        response, body = self._exchange(request, limit, until)
        if body is None:
            return None
        return Answer(status=response.status, headers=CaseInsensitiveDict(response.headers), body=body)

    def _exchange(
        self, request: requests.PreparedRequest, limit: int, until: Callable[[bytes], bool] | None
    ) -> tuple[HTTPResponse, bytes | None]:
        """Send the request and read the answer. The connection is closed whatever is raised, and when the body is too long."""
        method, url = str(request.method), str(request.url)
        connect_timeout, read_timeout = self._timeout
        connection = self._connections.take(method, url, connect_timeout)
        response = None
        try:
            connection.request(
                method,
                request.path_url,
                body=request.body,
                headers=request.headers,
                preload_content=False,
                decode_content=False,
            )
            connection.timeout = read_timeout
            response = connection.getresponse()
            if until is not None and is_event_stream(response.headers):
                body = read_events(response, connection, limit, until)
            else:
                body = read_bounded(response, limit)
        except BaseException:
            if response is not None:
                response.close()
            connection.close()
            raise
        self._connections.give_back(connection, response)
        return response, body


def shared_transport(*, timeout: tuple[float, float], route: Route = DIRECT) -> Transport:
    """Return a transport over the connections of this process, which stay open when it is left. ``timeout`` as in ``Transport``."""
    return Transport(timeout=timeout, connections=shared_connections(route))


def without_frames(error: BaseException) -> BaseException:
    """Return the exception without its traceback and context, whose frames hold secrets."""
    error.__context__ = None
    return error.with_traceback(None)


def body_of(request: requests.PreparedRequest) -> bytes:
    """Return the body that would be sent."""
    return request.body.encode() if isinstance(request.body, str) else request.body or b""


def reveal(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def read_bounded(response: HTTPResponse, limit: int) -> bytes | None:
    """Return the body, or ``None`` when it has more than ``limit`` bytes, as sent or decompressed."""
    body = bytearray()
    while chunk := response.read(CHUNK, decode_content=False):
        body += chunk
        if len(body) > limit:
            return None
    return _decompressed(bytes(body), response.headers.get("Content-Encoding", "identity").lower(), limit)


def read_events(
    response: HTTPResponse, connection: BoundedConnection, limit: int, until: Callable[[bytes], bool]
) -> bytes | None:
    """Return an event stream as far as it is needed, or ``None`` when that is more than ``limit`` bytes.

    The connection is closed when the stream does not end soon after that.
    """
    body, is_enough = bytearray(), False
    try:
        while chunk := response.read1(CHUNK, decode_content=False):
            body += chunk
            if limit < len(body):
                return None
            if not is_enough and until(chunk):
                is_enough = True
                connection.hurry(END_WITHIN)
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError):
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
