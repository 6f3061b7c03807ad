"""The base class of objects that authenticate httpx and httpx2 clients. Imports both, where they are installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any


def _auth_classes() -> Iterator[type]:
    for name in ("httpx2", "httpx"):
        try:
            yield import_module(name).Auth
        except ImportError:
            continue


HttpxAuthBase: Any = type("Auth", tuple(_auth_classes()), {})
