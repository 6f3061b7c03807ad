"""What the programs in Python share: an order is a line of JSON on standard input, and its outcome one on standard output.

``{"do": "call", "with": {…}}`` is answered with ``{"ok": …}``, or with ``{"error": "words"}`` when the client raises. In the middle of an
order a program may ask for a person: ``{"browse": URL}`` is answered with ``{"callback": URL}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Order = Callable[..., Awaitable[Any]]


def write(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def browse(url: str) -> str:
    """Return the URL that a person's browser is sent back to."""
    write({"browse": url})
    return str(json.loads(sys.stdin.readline())["callback"])


def words(error: BaseException) -> str:
    """Return what an error says. A group of errors, as anyio raises, says what its first one says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def obey(orders: Mapping[str, Order]) -> None:
    """Carry out orders until standard input ends, all in one task: a client's connection is left where it was entered."""
    logging.disable()
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        try:
            write({"ok": await orders[order["do"]](**order["with"])})
        except Exception as error:  # noqa: BLE001 - whatever the client raises is its outcome
            write({"error": words(error)})
