"""Calls Ontraport's REST API, for accounts that were linked with an App ID and API key."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async

from ontraport_connect import monitoring, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import FAILURES, Answer, excerpt, pause_of, reveal

from . import credentials, rate_limiter, rest_encoding, waiting

ANSWER_LIMIT = 16 * 1024 * 1024
"""The largest response body that is read, in bytes."""

NOT_SENT = {"connection", "tls"}
"""Codes of failures that happen before the request is sent."""


def rest(
    account: OntraportAccount,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    json: Mapping[str, Any] | None = None,
    form: Mapping[str, Any] | None = None,
    patience: float | None = None,
    timeout: float | None = None,
) -> Any:
    """Call Ontraport's REST API and return its JSON envelope: ``code``, ``account_id``, and ``data`` where the call gives any.

    ``params`` is added to the query of ``path``; the body is ``json``, or ``form`` for the few endpoints that want a form. ``params`` and
    ``form`` are encoded as Ontraport reads them: a ``condition`` as JSON, other lists joined by commas, booleans as ``true`` and ``false``,
    ``None`` left out.

    The call waits for its turn, and for the end of a 429, for at most ``patience`` seconds in all (default: ``ONTRAPORT_RATE_WAIT``).
    ``timeout`` is the number of seconds within which the whole answer must have come (default: the second of ``ONTRAPORT_TIMEOUT``).

    Raises ``OntraportRejected`` (with ``status``, and in ``said`` what Ontraport said), ``ReconnectRequired`` when the key pair is refused,
    and ``OntraportUnavailable``. After a write, its ``outcome_unknown`` tells that Ontraport may have carried the request out: look before
    you repeat it. Raises ``TypeError`` or ``ValueError`` for what cannot be sent.
    """
    waiting.refuse_in_event_loop("account.rest()", "await account.arest()")
    turns = rate_limiter.Turns(account)
    return call(account, method, path, turns, params=params, json=json, form=form, patience=patience, timeout=timeout)


def call(
    account: OntraportAccount,
    method: str,
    path: str,
    turns: rate_limiter.Turns,
    *,
    params: Mapping[str, Any] | None = None,
    json: Mapping[str, Any] | None = None,
    form: Mapping[str, Any] | None = None,
    patience: float | None = None,
    timeout: float | None = None,
) -> Any:
    """Do what ``rest`` does, in the next of ``turns``."""
    if account.method != Method.API_KEY:
        raise credentials.rest_takes_keys()
    url, texts = rest_encoding.url_of(path, params), _checked(json, form)
    deadlines = _deadlines(timeout)
    credentials.require_destination(url)
    with monitoring.calling("rest", http_request_method=method.upper(), url_path=urlsplit(url).path):
        credentials.prepare(account)
        give_up = time.monotonic() + (waiting.longest_wait() if patience is None else patience)
        return _call(account, method, url, turns, document=json, texts=texts, deadlines=deadlines, give_up=give_up)


def _call(
    account: OntraportAccount,
    method: str,
    url: str,
    turns: rate_limiter.Turns,
    *,
    document: Mapping[str, Any] | None,
    texts: Mapping[str, str] | None,
    deadlines: tuple[float, float],
    give_up: float,
) -> Any:
    """Send the request in its turn, again after a 429 for as long as there is time, and return the envelope."""
    with refreshing.new_transport(timeout=deadlines) as transport:
        while True:
            headers = credentials.credentials(account, url)
            with turns.turn(patience=max(0.0, give_up - time.monotonic())), _noting_outcome(method):
                answer = transport.send(method, url, document=document, form=texts, headers=headers, limit=ANSWER_LIMIT)
            if answer.status != 429:
                break
            turns.hold(pause_of(answer.headers))
    if answer.status == 401:
        raise credentials.key_refused(account)
    with _noting_outcome(method):
        return _read(answer, headers)


async def arest(account: OntraportAccount, method: str, path: str, **kwargs: Any) -> Any:
    """Async version of ``rest``."""
    return await sync_to_async(rest)(account, method, path, **kwargs)


def _checked(json: Mapping[str, Any] | None, form: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return the form as texts. Raises when a body cannot be encoded: later, frames hold secrets."""
    if json is not None and form is not None:
        raise TypeError("A request has one body: json or form.")
    if json is not None:
        rest_encoding.as_json(json)
    return None if form is None else rest_encoding.encoded(form)


def _deadlines(timeout: float | None) -> tuple[float, float]:
    connect, read = conf.ONTRAPORT_TIMEOUT
    if timeout is None:
        return connect, read
    if not timeout > 0:
        raise ValueError("The timeout is a positive number of seconds.")
    return connect, timeout


@contextmanager
def _noting_outcome(method: str) -> Iterator[None]:
    """Note in the error of a write that Ontraport may have carried it out."""
    try:
        yield
    except OntraportUnavailable as error:
        error.outcome_unknown = method.upper() not in {"GET", "HEAD"} and error.code not in NOT_SENT
        raise


def _read(answer: Answer, secrets: Mapping[str, Secret]) -> Any:
    """Return the envelope, or raise what the status says."""
    if 200 <= answer.status < 300:
        envelope = _envelope(answer)
        if envelope is None:
            raise OntraportUnavailable(FAILURES["nonsense"], code="nonsense")
        return envelope
    if answer.status < 500 or answer.status == 501:  # to ask for what is not there again is in vain (RFC 9110, 15.6.2)
        raise _rejected(answer, secrets)
    raise OntraportUnavailable(f"Ontraport answered with status {answer.status}.", code=f"http_{answer.status}")


def _envelope(answer: Answer) -> dict[str, Any] | None:
    """Return the JSON object of a success. Many have no ``data``: a deletion, an action on tasks or transactions."""
    try:
        envelope = answer.json()
    except ValueError:
        return None
    return envelope if isinstance(envelope, dict) and {"code", "data"} & {*envelope} else None


def _rejected(answer: Answer, secrets: Mapping[str, Secret]) -> OntraportError:
    if answer.status < 400:
        return OntraportRejected(
            "Ontraport answered with a redirect; credentials do not follow it.", code="redirect", status=answer.status
        )
    error = OntraportRejected(
        f"Ontraport refused the request with status {answer.status}.",
        code=f"http_{answer.status}",
        status=answer.status,
    )
    error.said = _said(answer, secrets)
    return error


def _said(answer: Answer, secrets: Mapping[str, Secret]) -> str:
    """Return the beginning of a text body, or nothing when it is no text, or repeats the credentials."""
    try:
        text = answer.body.decode()
    except UnicodeDecodeError:
        return ""
    return excerpt(text, map(reveal, secrets.values()))
