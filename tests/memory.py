"""How much memory a step costs this process for good."""

import gc
import logging
from collections.abc import Callable

import psutil


def resident() -> int:
    gc.collect()
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
