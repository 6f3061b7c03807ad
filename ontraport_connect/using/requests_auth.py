"""Authenticates ``requests`` with an account."""

from __future__ import annotations

from typing import Any

import requests
from requests.auth import AuthBase

from ontraport_connect.exceptions import OntraportRejected
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import reveal

from . import rate_limiter, waiting
from .credentials import credentials, prepare, renew, require_destination, snapshot
from .rate_window import Turn


class AccountAuth(AuthBase):
    """Waits for a turn, refreshes an access token that is about to expire, attaches the credentials, and on a 401 refreshes and retries
    once. A redirect raises ``OntraportRejected``.
    """

    def __init__(self, account: OntraportAccount) -> None:
        self.account = account

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        waiting.refuse_in_event_loop("requests with account.auth()", "httpx.AsyncClient with account.httpx_auth()")
        require_destination(request.url or "")
        prepare(self.account)
        position = _position(request.body)
        turn = rate_limiter.take(self.account, patience=waiting.longest_wait())
        sent = self._attach(request)
        request.hooks["response"].append(
            lambda response, **kwargs: self._handle(response, turn, sent, position, **kwargs)
        )
        return request

    def _attach(self, request: requests.PreparedRequest) -> OntraportAccount:
        """Add the credentials to the request, and return the snapshot of the account that they are from."""
        sent = snapshot(self.account)
        request.headers.update({name: reveal(value) for name, value in credentials(sent, request.url or "").items()})
        return sent

    def _handle(
        self, response: requests.Response, turn: Turn, sent: OntraportAccount, position: int | None, **kwargs: Any
    ) -> requests.Response:
        rate_limiter.note_answer(self.account, turn, response.status_code, response.headers)
        _refuse_redirect(response)
        body: Any = response.request.body
        can_repeat = position is not None or isinstance(body, (str, bytes, type(None)))
        if response.status_code != 401 or self.account.method != Method.OAUTH or not can_repeat:
            return response
        response.close()
        renew(self.account, sent=sent)
        request = response.request.copy()
        request.hooks["response"] = []
        if position is not None:
            body.seek(position)
        turn = rate_limiter.take(self.account, patience=waiting.longest_wait())
        self._attach(request)
        again: requests.Response = response.connection.send(request, **kwargs)
        rate_limiter.note_answer(self.account, turn, again.status_code, again.headers)
        _refuse_redirect(again)
        again.history.append(response)
        again.request = request
        return again


def _position(body: Any) -> int | None:
    """Return the position from which a file is sent, so that it can be sent again. ``None`` when the body is no seekable file."""
    try:
        position: int = body.tell()
    except (AttributeError, OSError):
        return None
    return position


def _refuse_redirect(response: requests.Response) -> None:
    if response.is_redirect:
        response.close()
        raise OntraportRejected("Ontraport answered with a redirect; credentials do not follow it.", code="redirect")
