"""How much memory a step costs this process permanently."""

import ctypes
import gc
import logging
from collections.abc import Callable
from contextlib import suppress

import psutil


def resident() -> int:
    """Return the bytes that this process holds, without what it has freed and the C library keeps for its threads."""
    gc.collect()
    with suppress(AttributeError):  # glibc only; other C libraries return memory by themselves
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def growth_of(step: Callable[[], object]) -> float:
    """Run ``step`` and return by how many megabytes the resident size has grown.

    Nothing is logged meanwhile: pytest keeps every line, and pytest is not what is measured.
    """
    before = resident()
    logging.disable()
    try:
        step()
    finally:
        logging.disable(logging.NOTSET)
    return (resident() - before) / 2**20
