"""Connections to Ontraport that are kept open between calls, shared by all threads of a process.

A connection is used by one call at a time. An idle one is used again for a few seconds only (``REUSE_WITHIN``) unless the request may be
repeated, since a server that closes it in that moment leaves open whether the request was processed, and a refresh token cannot be sent
twice. One that the server has closed by then is replaced before anything is sent.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit
from weakref import WeakSet

from urllib3.connection import ProxyConfig
from urllib3.util import Url

from ontraport_connect.exceptions import OntraportMisconfigured

from .deadline import Address, BoundedConnection, BoundedResponse, BoundedTLSConnection
from .route import DEFAULT_PORTS, DIRECT, Proxy, Route
from .tls import tls_context, trust_store

REUSE_WITHIN = 3.0
"""Seconds that a connection may have been idle before it carries a request that must not be repeated (RFC 9112, 9.3.1)."""

KEEP_FOR = 30.0
"""Seconds after which an idle connection is closed."""

MOST_IDLE = 128
"""Idle connections to one server; more are closed."""

SAFE_METHODS = frozenset({"GET", "HEAD"})

FINAL = 200
"""The first status of a final answer. After 101 a connection speaks another protocol, although none was asked for."""

_ours: WeakSet[Connections] = WeakSet()


class Connections:
    """Connections that are kept between calls. ``clock`` is in seconds."""

    def __init__(self, route: Route = DIRECT, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._route = route
        self._clock = clock
        self._idle: dict[Address, deque[BoundedConnection]] = {}
        self._is_open = True
        self._loop_thread = _loop_thread()
        _ours.add(self)

    @property
    def _is_at_home(self) -> bool:
        """Whether this thread may use and close idle connections."""
        return self._loop_thread == _loop_thread()

    def take(self, method: str, url: str, timeout: float) -> BoundedConnection:
        """Return a connection to the server of ``url``, kept or made within ``timeout`` seconds.

        Raises what ``failures`` knows, and ``OntraportMisconfigured`` for an unusable CA bundle or proxy.
        """
        self.close_idle()
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        address = (parts.scheme, host, port)
        longest_idle = KEEP_FOR if method in SAFE_METHODS else REUSE_WITHIN
        connection = self._kept(address, longest_idle) if self._is_at_home else None
        if connection is None:
            connection = self._new(address)
            connection.timeout = timeout
            try:
                connection.connect()
            except BaseException:
                connection.close()
                raise
        connection.timeout = timeout
        return connection

    def _kept(self, address: Address, longest_idle: float) -> BoundedConnection | None:
        """Return the connection that was used last, or ``None``. Connections that cannot be used are closed."""
        idle = self._idle.get(address, deque())
        while (connection := _last(idle)) is not None:
            if self._clock() - connection.idle_since <= longest_idle and connection.is_quiet:
                return connection
            connection.close()
        return None

    def _new(self, address: Address) -> BoundedConnection:
        scheme, host, port = address
        if scheme == "http":  # on a loopback host, which no proxy reaches
            connection = BoundedConnection(host, port)
        elif self._route.proxy is None:
            connection = BoundedTLSConnection(host, port, ssl_context=tls_context(self._route.ca_bundle))
        else:
            connection = self._tunnel(Proxy.read(self._route.proxy), host, port)
        connection.address = address
        return connection

    def _tunnel(self, proxy: Proxy, host: str, port: int) -> BoundedConnection:
        context = tls_context(self._route.ca_bundle)
        connection = BoundedTLSConnection(
            proxy.host,
            proxy.port,
            ssl_context=context,
            proxy=Url(scheme=proxy.scheme, host=proxy.host, port=proxy.port),
            proxy_config=ProxyConfig(
                ssl_context=context, use_forwarding_for_https=False, assert_hostname=None, assert_fingerprint=None
            ),
        )
        connection.set_tunnel(host, port, headers=proxy.headers(), scheme=proxy.scheme)
        return connection

    def give_back(self, connection: BoundedConnection, response: BoundedResponse) -> None:
        """Keep a connection whose response was read to its end; close any other."""
        idle = self._idle.setdefault(connection.address, deque())
        is_done = response.isclosed() and connection.sock is not None and response.status >= FINAL
        if not is_done or not self._is_at_home or len(idle) >= MOST_IDLE:
            response.close()
            connection.close()
            return
        connection.idle_since = self._clock()
        idle.append(connection)
        if not self._is_open:
            self.close()

    def close_idle(self) -> None:
        """Close the connections that were idle for too long. They are in the order in which they were given back."""
        if not self._is_at_home:
            return
        for idle in list(self._idle.values()):
            with suppress(IndexError):  # none is left
                while self._clock() - idle[0].idle_since > KEEP_FOR:
                    idle.popleft().close()

    def close(self) -> None:
        """Close all idle connections now, and the others when they are given back."""
        self._is_open = False
        for idle in list(self._idle.values()):
            while (connection := _last(idle)) is not None:
                connection.close()

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return sum(map(len, self._idle.values()))


def _last(idle: deque[BoundedConnection]) -> BoundedConnection | None:
    with suppress(IndexError):  # unlike a look before, this is safe among threads
        return idle.pop()
    return None


def _loop_thread() -> int:
    """Return the system thread where sockets belong to its event loop, as those of gevent and eventlet do; else 0."""
    is_patched = socket.socket.__module__.partition(".")[0] in {"gevent", "eventlet"}
    return threading.get_native_id() if is_patched else 0


class _Process:
    """What the process shares: the connections for the settings as they are now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._connections: Connections | None = None

    def connections(self, route: Route) -> Connections:
        key = (route, _store(route.ca_bundle))
        with self._lock:
            if self._connections is None or self._key != key:
                self.close()
                self._key, self._connections = key, Connections(route)
            return self._connections

    def close_idle(self) -> None:
        if self._connections is not None:
            self._connections.close_idle()

    def close(self) -> None:
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()


def _store(ca_bundle: str | None) -> object:
    try:
        return trust_store(ca_bundle)
    except OntraportMisconfigured:  # raised anew when something is sent
        return None


_process = _Process()


def shared_connections(route: Route) -> Connections:
    """Return the connections of this process. Those of another route, or of a CA bundle that was replaced since, are closed."""
    return _process.connections(route)


def close_idle_connections() -> None:
    """Close this process's connections that were idle for too long. Costs nothing where there are none."""
    _process.close_idle()


def close_connections() -> None:
    """Close this process's idle connections. Calls that follow make new ones."""
    _process.close()


def _start_anew() -> None:
    """In a forked process: the sockets are the parent's, which goes on using them, so that only this process's copies are closed."""
    global _process  # noqa: PLW0603
    for connections in list(_ours):
        connections.close()
    _process = _Process()


atexit.register(close_connections)
getattr(os, "register_at_fork", lambda **hooks: None)(after_in_child=_start_anew)
