"""A TCP proxy that breaks connections in the ways networks do and records what passed. It runs asyncio in a thread of the test."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from ontraport_connect.protocol import close_connections
from tests.support.servers import HOST, wait_until

CHUNK = 65536
RESET_ON_CLOSE = b"\1\0\0\0\0\0\0\0"


class Kind(StrEnum):
    """What happens from the chosen byte on.

    ``LATENCY``: everything is delayed. ``DRIP``: each byte is delayed. ``BLACK_HOLE``: nothing more passes, and nobody hangs up.
    ``HALF_CLOSE``: this direction is closed, the other stays open. ``TRUNCATE``: both are closed. ``RESET``: both are reset. ``CORRUPT``:
    one bit is flipped in each of ``length`` bytes.
    """

    LATENCY = auto()
    DRIP = auto()
    BLACK_HOLE = auto()
    HALF_CLOSE = auto()
    TRUNCATE = auto()
    RESET = auto()
    CORRUPT = auto()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault. It starts ``after`` bytes behind the first occurrence of ``behind``, in the request or (``in_answer``) in the response."""

    kind: Kind
    in_answer: bool
    behind: bytes = b""
    after: int = 0
    seconds: float = 0.0
    length: int = 1

    def start(self, stream: bytes) -> int | None:
        """Return the index of the first byte affected, or ``None`` while the stream has not reached it."""
        found = stream.find(self.behind)
        start = found + len(self.behind) + self.after
        return start if found >= 0 and start < len(stream) else None


@dataclass(kw_only=True)
class Passage:
    """One connection: what the client sent, what of it reached the server, and what the server answered."""

    sent: bytearray = field(default_factory=bytearray)
    delivered: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


class Ended(Exception):
    """Both sides have to be closed, or reset."""


@dataclass
class Way:
    """One direction of a connection: the bytes that ``came``, and those that ``went`` on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fault: Fault | None
    came: bytearray = field(default_factory=bytearray)
    went: bytearray = field(default_factory=bytearray)

    async def go(self) -> None:
        """Forward what comes until the stream ends. Raises ``Ended``."""
        with suppress(ConnectionError):
            while data := await self.reader.read(CHUNK):
                before = len(self.came)
                self.came += data
                start = None if self.fault is None else self.fault.start(bytes(self.came))
                sound = len(data) if start is None else max(0, start - before)
                self.send(data[:sound])
                if self.fault is not None and start is not None and data[sound:]:
                    await self.spoil(self.fault, data[sound:], before + sound - start)
        if not self.writer.is_closing():
            with suppress(OSError):
                self.writer.write_eof()

    async def spoil(self, fault: Fault, data: bytes, position: int) -> None:
        """Apply the fault to ``data``, which begins ``position`` bytes after the start of the fault."""
        match fault.kind:
            case Kind.LATENCY:
                await asyncio.sleep(0 if position else fault.seconds)
                self.send(data)
            case Kind.DRIP:
                left = bytearray(data)
                while left:
                    self.send(bytes([left.pop(0)]))
                    left += await self.more(fault.seconds)
                    if self.writer.is_closing() or (self.reader.at_eof() and not fault.in_answer):
                        raise Ended
            case Kind.CORRUPT:
                flipped = max(0, fault.length - position)
                self.send(bytes(byte ^ 0x80 for byte in data[:flipped]) + data[flipped:])
            case Kind.HALF_CLOSE if not position:
                self.writer.write_eof()
            case Kind.RESET | Kind.TRUNCATE:
                raise Ended

    async def more(self, seconds: float) -> bytes:
        """Return the data that arrives within ``seconds``."""
        try:
            data = await asyncio.wait_for(self.reader.read(CHUNK), seconds)
        except TimeoutError:
            return b""
        if not data:
            await asyncio.sleep(seconds)
        self.came += data
        return data

    def send(self, data: bytes) -> None:
        """Send ``data``. When the other side has hung up, keep reading and drop what comes."""
        if data and not self.writer.is_closing():
            self.writer.write(data)
            self.went += data


class FaultProxy:
    """A proxy in front of ``upstream``. Each connection takes the next of the faults given to ``meet``; later ones take none."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._faults: deque[Fault | None] = deque()
        self._serving: set[asyncio.Task[None] | None] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self.passages: list[Passage] = []

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def meet(self, *faults: Fault | None) -> None:
        """Set the faults of the next connections (``None``: no fault for that one), and forget the connections so far."""
        self.settle()
        self.passages.clear()
        self._faults = deque(faults)

    def settle(self) -> None:
        """Wait until every connection has ended, those too that one side has given up or keeps for later."""

        def has_ended() -> bool:
            close_connections()
            return not self._serving

        wait_until(has_ended, "the connections to end")

    def hang_up(self) -> None:
        """Close the connections that are kept alive."""
        for task in [*self._serving]:
            if task is not None:
                self._loop.call_soon_threadsafe(task.cancel)
        wait_until(lambda: not self._serving, "the connections to be closed")

    def requests(self, start: bytes = b"POST /oauth/token ") -> int:
        """Count the requests that the client began to send."""
        return sum(passage.sent.count(start) for passage in self.passages)

    async def _listen(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, HOST, 0, backlog=100)
        self.port: int = server.sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._ready.set()
        await self._stopping.wait()
        server.close()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        passage, fault = Passage(), self._faults.popleft() if self._faults else None
        self.passages.append(passage)
        from_server, to_server = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        request = fault if fault is not None and not fault.in_answer else None
        answer = fault if fault is not None and fault.in_answer else None
        try:
            await asyncio.gather(
                Way(from_client, to_server, request, came=passage.sent, went=passage.delivered).go(),
                Way(from_server, to_client, answer, came=passage.answered).go(),
            )
        except Ended:
            if fault is not None and fault.kind != Kind.TRUNCATE:
                for writer in (to_client, to_server):
                    with suppress(OSError):
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        finally:
            for writer in (to_client, to_server):
                writer.close()
            await asyncio.sleep(0)  # it is closed now
            self._serving.discard(asyncio.current_task())
