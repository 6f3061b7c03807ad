"""The one way in which anything is sent to Ontraport: bounded in time and size, and never beyond the address asked for.

No redirect is followed, no cookie kept, nothing retried, and no proxy or ``.netrc`` taken from the environment. Frames that see plain
secrets return their failures; only frames that do not see them raise, so that a traceback with local variables shows nothing.
The name of the host is looked up by the operating system, whose own time limit comes on top of ours.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from billiard.exceptions import SoftTimeLimitExceeded
from requests.structures import CaseInsensitiveDict

from ontraport_connect import __version__
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable

from .deadline import BoundedAdapter

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


CODES: Sequence[tuple[str, tuple[type[BaseException], ...]]] = (
    ("tls", (requests.exceptions.SSLError, urllib3.exceptions.SSLError)),
    ("connection", (urllib3.exceptions.NewConnectionError,)),
    ("timeout", (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)),
    ("cut", (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)),
    ("nonsense", (http.client.HTTPException, zlib.error, ValueError)),
    ("cut", (urllib3.exceptions.HTTPError, OSError)),
)
"""What the HTTP stack raises, and the failure that it stands for: the first that fits, looking inside as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A complete HTTP response. Nothing that the server chose shows in its ``repr``: it may hold, or echo, tokens."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
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


def is_loopback(host: str | None) -> bool:
    if host == "localhost" or (host or "").endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def require_secure(url: str) -> None:
    """Raise ``OntraportMisconfigured`` unless ``url`` is https, or http on a loopback host."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if host and (scheme == "https" or (scheme == "http" and is_loopback(host))):
        return
    raise OntraportMisconfigured(
        f"{scheme or '(no scheme)'}://{host or '(no host)'} is not an https address; credentials are sent over https"
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
        answer = self._attempt(method, url, form=form, document=document, headers=headers or {}, limit=limit)
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
    ) -> Answer | BaseException:
        """Return the answer, or what to raise; plain secrets live in this frame and below only, so that an interruption (Ctrl-C, a soft
        time limit, gevent's timeout) goes on without these frames too.
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
            response = self._adapter.send(request, stream=True, timeout=self._timeout, verify=True, proxies={})
            try:
                body = read_bounded(response, limit)
            except BaseException:
                response.close()
                raise
        except OntraportError as error:
            return error.with_traceback(None)
        except SoftTimeLimitExceeded as error:
            return without_frames(error)
        except Exception as error:  # noqa: BLE001  # closed by default: whatever it is, its frames hold secrets
            return _unavailable(failure_code(error))
        except BaseException as error:  # noqa: BLE001  # raised by ``send``
            return without_frames(error)
        if body is None:
            return _unavailable("too_large")
        return Answer(status=response.status_code, headers=CaseInsensitiveDict(response.headers), body=body)


def without_frames(error: BaseException) -> BaseException:
    """Return the error without what tells of the frames that it went through."""
    error.__context__ = None
    return error.with_traceback(None)


def _unavailable(code: str) -> OntraportUnavailable:
    return OntraportUnavailable(FAILURES[code], code=code)


def reveal(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def read_bounded(response: requests.Response, limit: int) -> bytes | None:
    """Return the body, or ``None`` (and drop the connection) when it is longer than ``limit`` bytes, as sent or decompressed."""
    body = bytearray()
    while chunk := response.raw.read(CHUNK, decode_content=False):
        body += chunk
        if len(body) > limit:
            response.close()
            return None
    response.raw.release_conn()
    return _decompressed(bytes(body), response.headers.get("Content-Encoding", "identity").lower(), limit)


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes | None:
    """Undo the one encoding that is understood, although none was asked for."""
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


def failure_code(error: BaseException) -> str:
    """Map whatever the HTTP stack raised to one of ``FAILURES``; closed by default."""
    found = list(_layers(error))
    return next((code for code, kinds in CODES if any(isinstance(each, kinds) for each in found)), "nonsense")


def _layers(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was wrapped around: requests wraps what urllib3 wrapped."""
    yield error
    for inner in (*error.args, getattr(error, "reason", None)):
        if isinstance(inner, BaseException) and inner is not error:
            yield from _layers(inner)
