"""The one way in which anything is sent to Ontraport: bounded in time and size, and never beyond the address asked for.

No redirect is followed, no cookie kept, nothing retried, and no proxy or ``.netrc`` taken from the environment. Frames that see plain
secrets return their failures; only frames that do not see them raise, so that a traceback with local variables shows nothing.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from . import __version__
from .exceptions import OntraportMisconfigured, OntraportUnavailable
from .secret import Secret

USER_AGENT = f"django-ontraport-connect/{__version__}"
MESSAGE_LIMIT = 256 * 1024
CHUNK = 16 * 1024

FAILURES = {
    "timeout": "Ontraport did not answer in time.",
    "connection": "Ontraport could not be reached.",
    "tls": "The TLS certificate of Ontraport's server was not accepted.",
    "cut": "The connection was lost before Ontraport's answer was complete.",
    "too_large": "Ontraport's answer is larger than any that this app expects.",
    "nonsense": "Ontraport's answer could not be understood.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A complete HTTP response. ``body`` shows in no ``repr``: it may hold tokens."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Parse the body strictly (UTF-8, no duplicate key, no NaN). Raises ``ValueError``; catch it where the body is in sight."""
        try:
            return json.loads(self.body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class _DeadlineReader(io.RawIOBase):
    """Turns the socket's timeout, which bounds one read, into a deadline for all reads of one response."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw = raw
        self._sock = sock
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
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
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))  # type: ignore[attr-defined]


class _BoundedHTTPConnection(HTTPConnection):
    response_class = _BoundedResponse


class _BoundedHTTPSConnection(HTTPSConnection):
    response_class = _BoundedResponse


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


def is_loopback(host: str | None) -> bool:
    if host == "localhost" or (host or "").endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def require_secure(url: str) -> None:
    """Raise ``OntraportMisconfigured`` unless ``url`` is https, or http on a loopback host."""
    parts = urlsplit(url)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))):
        return
    raise OntraportMisconfigured(
        f"{parts.scheme or '(no scheme)'}://{parts.hostname or '(no host)'} is not an https address; credentials are sent over https"
        " only (http is for loopback hosts).",
        code="insecure_url",
    )


class Transport:
    """Sends requests over kept-alive connections; one for a batch, or one for a single call. Safe to share among threads."""

    def __init__(self, *, timeout: tuple[float, float], pool_size: int = 1) -> None:
        self._timeout = timeout
        self._adapter = BoundedAdapter(pool_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._adapter.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str | Secret] | None = None,
        document: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        limit: int = MESSAGE_LIMIT,
    ) -> Answer:
        """Send one request and read the whole answer, of at most ``limit`` bytes before and after decompression.

        Raises ``OntraportUnavailable`` when no complete answer came in time, ``OntraportMisconfigured`` for an insecure address.
        """
        require_secure(url)
        answer = self._attempt(method, url, form, document, headers, limit)
        if isinstance(answer, str):
            raise OntraportUnavailable(FAILURES[answer], code=answer)
        return answer

    def _attempt(
        self,
        method: str,
        url: str,
        form: Mapping[str, str | Secret] | None,
        document: Mapping[str, Any] | None,
        headers: Mapping[str, str | Secret] | None,
        limit: int,
    ) -> Answer | str:
        """Return the answer, or the code of the failure; plain secrets live in this frame and below only."""
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
                    **{name: reveal(value) for name, value in (headers or {}).items()},
                },
            ).prepare()
            response = self._adapter.send(request, stream=True, timeout=self._timeout, verify=True, proxies={})
            try:
                body = read_bounded(response, limit)
            except BaseException:
                response.close()
                raise
        except Exception as error:
            return failure_code(error)
        if body is None:
            return "too_large"
        return Answer(status=response.status_code, headers=CaseInsensitiveDict(response.headers), body=body)


def reveal(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def read_bounded(response: requests.Response, limit: int) -> bytes | None:
    """Read the decompressed body, or return ``None`` (and drop the connection) when it is longer than ``limit`` bytes."""
    body = bytearray()
    while chunk := response.raw.read(CHUNK, decode_content=True):
        body += chunk
        if len(body) > limit:
            response.close()
            return None
    response.raw.release_conn()
    return bytes(body)


def failure_code(error: Exception) -> str:
    """Map whatever the HTTP stack raised to one of ``FAILURES``; closed by default."""
    if isinstance(error, requests.exceptions.SSLError):
        return "tls"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return "timeout"
    if isinstance(error, (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError)):
        return "nonsense"
    if isinstance(error, requests.ConnectionError) and isinstance(
        getattr(error.args[0] if error.args else None, "reason", None), urllib3.exceptions.NewConnectionError
    ):
        return "connection"
    if isinstance(error, (requests.RequestException, urllib3.exceptions.HTTPError, OSError, http.client.HTTPException)):
        return "cut"
    return "nonsense"
