"""What this process remembers of MCP servers: the sessions that it holds there, and how each server is spoken to. No network."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from ontraport_connect.encryption import Secret

MOST_SESSIONS = 256
"""Sessions that a process holds. Ontraport's published server takes 60 kB for each."""

KEEP_FOR = 600.0
"""Seconds after which an unused session is given up; Ontraport's published server ends it after 1,800."""

MOST_SERVERS = 32

Name = tuple[str, Hashable]
"""The URL of a server, and whose session it is."""

_ours: WeakSet[Sessions] = WeakSet()


@dataclass(slots=True)
class Server:
    """What was found out about a server.

    ``version`` is the protocol version that it speaks, or empty. ``needs_session`` is false where calls need no handshake: the server
    gives no sessions. ``key_headers`` tells whether it takes key pairs as headers of their own; ``None``: not known. ``rests_until`` is
    the time up to which no session is ended there. ``schemas`` are those of its tools that want arguments in headers. ``has_listed``
    tells, where it gives no sessions, whether it has been asked for its tools.
    """

    version: str = ""
    needs_session: bool = True
    key_headers: bool | None = None
    rests_until: float = 0.0
    schemas: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    has_listed: bool = False


@dataclass(kw_only=True, slots=True)
class Session:
    """An agreement with a server. ``id`` is ``None`` where it gives no sessions. ``proof`` says for which link it was made.

    ``credential`` is what it was opened with. ``owner`` belongs to the caller: what he needs to end the session. ``has_listed`` tells
    whether the server has been asked for its tools in it.
    """

    url: str
    version: str
    id: Secret | None = None
    proof: object = None
    credential: object = None
    owner: Any = field(default=None, repr=False)
    used_at: float = 0.0
    has_listed: bool = False


class Sessions:
    """Sessions that are kept between calls, the least recently used first. ``clock`` is in seconds. Threads may share it."""

    def __init__(
        self, *, most: int = MOST_SESSIONS, keep_for: float = KEEP_FOR, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._keep_for = keep_for
        self._clock = clock
        self.forget_all()
        _ours.add(self)

    def forget_all(self) -> None:
        """Forget everything. The sessions stay open at their servers."""
        self._lock = threading.Lock()
        self._held: OrderedDict[Name, Session] = OrderedDict()
        self._servers: OrderedDict[str, Server] = OrderedDict()
        self._opening: set[Name] = set()

    def __len__(self) -> int:
        return len(self._held)

    def server(self, url: str) -> Server:
        with self._lock:
            found = self._servers.setdefault(url, Server())
            self._servers.move_to_end(url)
            if len(self._servers) > MOST_SERVERS:
                self._servers.popitem(last=False)
            return found

    def find(self, url: str, holder: Hashable, proof: object) -> Session | None:
        """Return the session of this holder, unless it was made for another link than ``proof`` says."""
        with self._lock:
            session = self._held.get((url, holder))
            if session is None or session.proof != proof:
                return None
            session.used_at = self._clock()
            self._held.move_to_end((url, holder))
            return session

    def keep(self, holder: Hashable, session: Session) -> None:
        with self._lock:
            session.used_at = self._clock()
            self._held[session.url, holder] = session
            self._held.move_to_end((session.url, holder))

    def forget(self, holder: Hashable, session: Session) -> None:
        """Forget a session that the server does not know any more, unless another has taken its place."""
        with self._lock:
            if self._held.get((session.url, holder)) is session:
                del self._held[session.url, holder]

    def begin_opening(self, url: str, holder: Hashable) -> bool:
        """Return whether the caller shall open the session. If not, somebody is at it."""
        with self._lock:
            is_first = (url, holder) not in self._opening
            self._opening.add((url, holder))
            return is_first

    def end_opening(self, url: str, holder: Hashable) -> None:
        self._opening.discard((url, holder))

    def is_opening(self, url: str, holder: Hashable) -> bool:
        return (url, holder) in self._opening

    def surplus(self) -> Session | None:
        """Take out one session that is not to be kept: one too many, or unused for too long."""
        with self._lock:
            if self._held:
                name, oldest = next(iter(self._held.items()))
                if len(self._held) > self._most or self._clock() - oldest.used_at > self._keep_for:
                    return self._held.pop(name)
        return None

    def take_all(self, holder: Hashable = None) -> list[Session]:
        """Take out the sessions of this holder, or all."""
        with self._lock:
            names = [name for name in self._held if holder is None or name[1] == holder]
            return [self._held.pop(name) for name in names]


def _start_anew() -> None:
    """In a forked process: the sessions are the parent's, which goes on using them, and will end them."""
    for sessions in list(_ours):
        sessions.forget_all()


getattr(os, "register_at_fork", lambda **hooks: None)(after_in_child=_start_anew)
