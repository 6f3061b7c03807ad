"""What answers in place of the network. Tests plug it in; then nothing in this package opens a connection to Ontraport."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from .answer import Answer


class Wire(Protocol):
    """Answers requests. An ``OSError`` that it raises is what the network would have raised."""

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


class _Plug:
    """What is plugged in, for all threads of the process: calls are also made by workers and by an event loop in the background."""

    wire: Wire | None = None


def plugged_in() -> Wire | None:
    """Return what answers in place of the network, or ``None``."""
    return _Plug.wire


@contextmanager
def plug_in(wire: Wire) -> Iterator[None]:
    """Let ``wire`` answer every request, in all threads, until the block is left."""
    before, _Plug.wire = _Plug.wire, wire
    try:
        yield
    finally:
        _Plug.wire = before
