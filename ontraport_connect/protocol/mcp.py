"""Conversations with an MCP server: one request a call, in a session that is kept, and opened anew where the server has ended it.

A conversation is a generator: it yields the requests to send, and is sent their answers. Who sends them, when and with which credentials,
is not decided here. It yields seconds where it waits for another call of the same holder that is opening the session.

The handshake of 2025 and before comes first. A server that knows none is asked for the newer protocol, which has no sessions; which of
them it speaks is found out once a server. The SDK asks in the other order, which costs Ontraport's servers of today a request more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError

from . import mcp_messages
from .answer import Answer
from .failures import unavailable
from .http import Transport, shared_transport
from .mcp_messages import Message
from .mcp_results import parsed
from .mcp_sdk import require_mcp, sdk
from .mcp_sessions import Session, Sessions
from .route import DIRECT, Route

T = TypeVar("T")
Talk = Generator[Message | float, Any, T]

ANSWER_LIMIT = 16 * 1024 * 1024

MOST_PAGES = 20
"""The most pages of the list of tools that are read."""

LOOK_AGAIN = 0.01
"""Seconds between two looks at whether another call has opened the session."""

OPENED_WITHIN = 15.0
"""Seconds after which a call opens a session of its own."""


class Conversation:
    """Asks a server on behalf of ``holder``, whose sessions nobody else is given. ``proof`` tells one link of his from the next.

    ``secrets`` returns what no error may repeat. Who sends sets ``owner``, which is handed to the session (what its end needs), and
    ``credential``, which tells one credential of the holder from the next.
    """

    def __init__(
        self,
        sessions: Sessions,
        url: str,
        *,
        holder: Hashable,
        proof: object = None,
        secrets: Callable[[], Iterable[Secret]] = tuple,
    ) -> None:
        self.owner: Any = None
        self.credential: object = None
        self._sessions = sessions
        self._url = url
        self._holder = holder
        self._proof = proof
        self._secrets = secrets

    def call_tool(self, tool: str, arguments: Mapping[str, Any]) -> Talk[Any]:
        """Call a tool, and return its result; see ``mcp_results.tool_value``."""
        params = {"name": tool, "arguments": arguments}
        names = ("content", "structuredContent", "isError")
        return parsed(sdk("mcp_types").CallToolResult, (yield from self._ask("tools/call", params)), names)

    def list_tools(self) -> Talk[Sequence[Any]]:
        """Return all tools that the server lists."""
        tools: list[Any] = []
        params: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            names = ("tools", "nextCursor")
            page = parsed(sdk("mcp_types").ListToolsResult, (yield from self._ask("tools/list", params)), names)
            tools += page.tools
            if page.next_cursor is None:
                break
            params = {"cursor": page.next_cursor}
        return tools

    def _ask(self, method: str, params: Mapping[str, Any]) -> Talk[dict[str, Any]]:
        session = self._known_session()
        is_remembered, may_learn = session is not None, method == "tools/call"
        while True:
            if session is None:
                session = self._known_session() or (yield from self._opened())
            message = mcp_messages.request(session, method, params, self._sessions.server(self._url).schemas)
            answer: Answer = yield message
            session.owner = self.owner
            listener = self._sessions.server(self._url) if session.id is None else session
            if is_remembered and self._is_refused(session, answer, message):
                self._forget(session)
                session, is_remembered = None, False
            elif may_learn and mcp_messages.wants_headers(answer, message):
                may_learn = False
                yield from self._learn_schema(params["name"])
            elif not listener.has_listed and mcp_messages.may_want_a_list(answer, message):
                listener.has_listed = True
                with suppress(OntraportError):  # then the call's own refusal is what the caller is told
                    yield from self.list_tools()
            else:
                listener.has_listed |= method == "tools/list"
                return mcp_messages.result_of(answer, message, self._secrets())

    def _learn_schema(self, tool: str) -> Talk[None]:
        """Remember which arguments of a tool the server wants in headers: it says so in its list of tools."""
        schemas = {each.name: each.input_schema for each in (yield from self.list_tools())}
        self._sessions.server(self._url).schemas[tool] = schemas.get(tool, {})

    def _known_session(self) -> Session | None:
        """Return the session to use, without a request: one that is held, or what does without, where the server gives none."""
        server = self._sessions.server(self._url)
        if server.version and not server.needs_session:
            return Session(url=self._url, version=server.version)
        return self._sessions.find(self._url, self._holder, self._proof)

    def _is_refused(self, session: Session, answer: Answer, message: Message) -> bool:
        """Tell whether the server does not know this session, or not with the credential that has taken the place of another."""
        if answer.status == 403 and session.id is not None and session.credential != self.credential:
            return True
        return mcp_messages.is_refused_before_it_is_read(answer, message)

    def _forget(self, session: Session) -> None:
        self._sessions.forget(self._holder, session)
        server = self._sessions.server(self._url)
        if session.id is None and server.version == session.version:
            server.version = ""

    def _opened(self) -> Talk[Session]:
        """Open a session. Of several calls at once the first does, and the others wait for that."""
        if self._sessions.begin_opening(self._url, self._holder):
            try:
                return (yield from self._open())
            finally:
                self._sessions.end_opening(self._url, self._holder)
        give_up = time.monotonic() + OPENED_WITHIN
        while self._sessions.is_opening(self._url, self._holder) and time.monotonic() < give_up:
            yield LOOK_AGAIN
        return self._known_session() or (yield from self._open())

    def _open(self) -> Talk[Session]:
        message = mcp_messages.initialize()
        answer = yield message
        version = ""
        if mcp_messages.speaks_otherwise(answer):
            version = yield from self._discover()
        server = self._sessions.server(self._url)
        if version:
            server.version, server.needs_session = version, False
            return Session(url=self._url, version=version)
        session = mcp_messages.session_of(self._url, answer, message)
        session.proof, session.owner, session.credential = self._proof, self.owner, self.credential
        yield mcp_messages.initialized(session)
        server.version, server.needs_session = session.version, session.id is not None
        if server.needs_session:
            self._sessions.keep(self._holder, session)
        return session

    def _discover(self) -> Talk[str]:
        """Return the newest protocol version without a handshake that the server and the SDK share, or an empty text."""
        ours: Sequence[str] = sdk("mcp_types").version.MODERN_PROTOCOL_VERSIONS
        for version in reversed(ours):
            message = mcp_messages.request(Session(url=self._url, version=version), "server/discover", {})
            answer = yield message
            named = mcp_messages.versions_of(answer, message)
            if any(each in ours for each in named):
                return next(each for each in reversed(ours) if each in named)
        return ""


def send_message(transport: Transport, url: str, message: Message, credentials: Mapping[str, Secret]) -> Answer:
    """Send one request. Raises as ``Transport.send`` does."""
    headers: dict[str, str | Secret] = {**message.headers, **credentials}
    return transport.send(
        message.http_method,
        url,
        document=message.document,
        headers=headers,
        limit=ANSWER_LIMIT,
        until=message.end_of_stream(),
    )


def ask_once(
    url: str,
    credentials: Mapping[str, Secret],
    tool: str,
    *,
    deadlines: tuple[float, float],
    route: Route = DIRECT,
) -> Any:
    """Call one tool without arguments, all within the sum of ``deadlines`` (connect, read) in seconds, and end the session that it took.

    ``credentials`` are the headers to send. Raises ``OntraportUnavailable``, ``OntraportRejected`` or ``OntraportMisconfigured``.
    """
    require_mcp()
    sessions, limit = Sessions(), TimeLimit(deadlines)

    def answer_to(message: Message) -> Answer:
        return limit.run(
            lambda timeout: send_message(shared_transport(timeout=timeout, route=route), url, message, credentials)
        )

    conversation = Conversation(sessions, url, holder=url, secrets=credentials.values)
    talk: Any = conversation.call_tool(tool, {})
    answer = None
    try:
        while True:
            answer = answer_to(talk.send(answer))
    except StopIteration as finished:
        return finished.value
    finally:
        for session in sessions.take_all():
            with suppress(OntraportError):
                answer_to(mcp_messages.end_of(session))


class TimeLimit:
    """The sum of two deadlines (connect, read), in seconds, that several requests share. What happens between them does not count."""

    def __init__(self, deadlines: tuple[float, float]) -> None:
        self._deadlines = deadlines
        self._left = sum(deadlines)

    def check(self) -> None:
        """Raise ``OntraportUnavailable`` when no time is left."""
        if self._left <= 0:
            raise unavailable("timeout")

    def run(self, request: Callable[[tuple[float, float]], T]) -> T:
        """Run a request with its deadlines. Raises ``OntraportUnavailable`` when no time is left."""
        self.check()
        connect, read = self._deadlines
        started = time.monotonic()
        try:
            return request((min(connect, self._left), min(read, self._left)))
        finally:
            self._left -= time.monotonic() - started
