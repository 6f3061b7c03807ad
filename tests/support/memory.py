"""How much memory a step costs this process for good."""

import ctypes
import gc
import logging
from collections.abc import Callable
from contextlib import suppress

import psutil


def resident() -> int:
    """Return the bytes that this process holds, without those that it has freed and the C library keeps in reserve for its threads."""
    gc.collect()
    with suppress(AttributeError):  # it is glibc's; other C libraries give back by themselves
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def growth_of(step: Callable[[], object]) -> float:
    """Run ``step`` and return by how many megabytes the resident size is larger after it than before.

    Meanwhile nothing is logged: pytest keeps every line, and it is not pytest that is measured.
    """
    before = resident()
    logging.disable()
    try:
        step()
    finally:
        logging.disable(logging.NOTSET)
    return (resident() - before) / 2**20
