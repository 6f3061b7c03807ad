"""Requests to the MCP server, one at a time: each waits for its turn and carries the credentials of the moment.

Also what this process remembers of MCP servers, and how its sessions end.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any

from ontraport_connect import protocol, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import Answer, Conversation, Message, Session, TimeLimit
from ontraport_connect.signals import account_disconnected

from . import credentials, rate_limiter, steps
from .rate_window import Turn
from .steps import OffLoop, Steps

NOT_SENT = {"connection", "tls", "no_thread"}
"""Codes of failures that happen before the request is sent."""

END_TIMEOUT = (1.0, 1.0)
"""Seconds to connect, and for the answer, that the end of a session may take: nobody needs that answer."""

EXIT_WITHIN = 2.0
"""Seconds after which the end of the process leaves the remaining sessions to their servers."""

REST_AFTER_FAILURE = 60.0
"""Seconds for which no session is ended at a server that failed to."""

sessions = protocol.Sessions()


class Caller:
    """Sends the requests of one call on behalf of ``account``, and waits for turns for at most ``patience`` seconds.

    ``outcome_unknown`` tells whether a tool may have run although its answer did not come.
    """

    def __init__(self, account: OntraportAccount, *, patience: float) -> None:
        self.outcome_unknown = False
        self._account = account
        self._sent = account
        self._give_up = time.monotonic() + patience
        self._may_renew = account.method == Method.OAUTH
        self._url = conf.ONTRAPORT_MCP_URL
        self._server = sessions.server(self._url)
        self._key_headers = self._server.key_headers is not False

    def secrets(self) -> Iterable[Secret]:
        """Return what no error may repeat."""
        return [each for each in (self._sent.app_id, self._sent.access_token) if each is not None]

    def converse(self, use: Callable[[Conversation], Generator[Any, Any, Any]]) -> Steps:
        """Have ``use`` ask the server. Asks again after a 401 or 429 that a tool handed on as its result, as after one of the server's."""
        while True:
            conversation = self._conversation()
            with closing(use(conversation)) as talk:
                result = yield from self._answer_all(conversation, talk)
            status = protocol.status_of(result)
            self.outcome_unknown = status is not None and status >= 500
            if status not in {401, 429}:
                yield from tidy_up()
                return result
            del result  # it may repeat secrets, and would be in the frame of an error
            if status == 429:
                yield partial(rate_limiter.hold, self._account, protocol.pause_of({}))
            else:
                yield from self._renew()

    def _conversation(self) -> Conversation:
        account = self._account
        return Conversation(
            sessions,
            self._url,
            holder=account.uid,
            proof=(account.linked_at, account.user_id, account.tenant, account.method),
            secrets=self.secrets,
        )

    def _answer_all(self, conversation: Conversation, talk: Generator[Any, Any, Any]) -> Steps:
        limit = TimeLimit(conf.ONTRAPORT_TIMEOUT)
        answer = None
        while True:
            try:
                message = talk.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(message, float):
                answer = yield message
                continue
            limit, answer = yield from self._ask(message, limit)
            conversation.owner, conversation.credential = self._sent, self._sent.version

    def _ask(self, message: Message, limit: TimeLimit) -> Steps:
        """Return the answer to a request, and what is left of the time. Waits out a 429, and renews the credentials on a 401."""
        while True:
            answer: Answer = yield from self._send(message, limit)
            if answer.status not in {401, 429}:
                return limit, answer
            if answer.status == 429:
                yield partial(rate_limiter.hold, self._account, protocol.pause_of(answer.headers))
            elif self._may_try_bearer():
                self._key_headers = False
            else:
                yield from self._renew()
            limit = TimeLimit(conf.ONTRAPORT_TIMEOUT)

    def _may_try_bearer(self) -> bool:
        return self._account.method == Method.API_KEY and self._server.key_headers is None and self._key_headers

    def _renew(self) -> Steps:
        """Get new credentials after a 401, or raise what it means."""
        if self._account.method != Method.OAUTH:
            raise (yield partial(credentials.key_refused, self._account))
        if not self._may_renew:
            raise OntraportRejected("Ontraport's MCP server answered with status 401.", code="http_401", status=401)
        self._may_renew = False
        yield partial(credentials.renew, self._account, sent=self._sent)

    def _send(self, message: Message, limit: TimeLimit) -> Steps:
        limit.check()
        turn = yield from self._take_turn()
        self._sent = sent = credentials.snapshot(self._account)
        headers = _headers(sent, key_headers=self._key_headers)
        self.outcome_unknown = message.method == "tools/call"
        try:
            answer: Answer = yield OffLoop(partial(limit.run, partial(_post, self._url, message, headers)))
        except OntraportUnavailable as error:
            self.outcome_unknown &= error.code not in NOT_SENT
            raise
        finally:
            yield partial(rate_limiter.settle, turn)
        self.outcome_unknown &= not 400 <= answer.status < 500
        if answer.status < 300 and sent.method == Method.API_KEY:
            self._server.key_headers = self._key_headers
        return answer

    def _take_turn(self) -> Steps:
        patience = max(0.0, self._give_up - time.monotonic())
        turn: Turn = yield partial(rate_limiter.reserve, self._account, patience=patience)
        while turn.wait:
            yield turn.wait
            turn = yield partial(rate_limiter.confirm, turn)
        return turn


def _headers(sent: OntraportAccount, *, key_headers: bool) -> Mapping[str, Secret]:
    if sent.method == Method.API_KEY and key_headers:
        return credentials.key_pair(sent)
    return {"Authorization": credentials.bearer(sent)}


def _post(url: str, message: Message, headers: Mapping[str, Secret], timeout: tuple[float, float]) -> Answer:
    protocol.tls_context(conf.ONTRAPORT_CA_BUNDLE)  # one that is unusable is told of on loopback hosts, too
    return protocol.send_message(refreshing.new_transport(timeout=timeout), url, message, headers)


def tidy_up() -> Steps:
    """End one session that is not to be kept, if there is any."""
    session = sessions.surplus()
    if session is not None:
        yield from _end_in_turn(session)


def _end_in_turn(session: Session) -> Steps:
    """End a session at its server, where the rate limit has room for that now. Raises nothing."""
    with suppress(OntraportError):
        turn = yield partial(rate_limiter.reserve, session.owner, patience=0.0)
        yield OffLoop(partial(_end, session))
        yield partial(rate_limiter.settle, turn)


def _end(session: Session) -> None:
    """Raises ``OntraportError``, after which the server is left alone for a while."""
    server = sessions.server(session.url)
    if time.monotonic() < server.rests_until:
        return
    headers = _headers(session.owner, key_headers=server.key_headers is not False)
    try:
        _post(session.url, protocol.end_of(session), headers, END_TIMEOUT)
    except OntraportError:
        server.rests_until = time.monotonic() + REST_AFTER_FAILURE
        raise


def _forget(account: OntraportAccount, **signal: object) -> None:
    """End the sessions of a link that is gone, before its grant is revoked."""
    for session in sessions.take_all(account.uid):
        steps.run(_end_in_turn(session))


def end_all() -> None:
    """End all sessions of this process at their servers, as far as that is possible within ``EXIT_WITHIN`` seconds."""
    give_up = time.monotonic() + EXIT_WITHIN
    for session in sessions.take_all():
        if time.monotonic() < give_up:
            with suppress(OntraportError):
                _end(session)


account_disconnected.connect(_forget, dispatch_uid="ontraport_connect.mcp_sessions")
atexit.register(end_all)
