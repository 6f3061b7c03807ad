"""Keeps a process from ending while something in it is to be saved that exists nowhere else"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 300.0
"""Seconds that a process stays at most."""


@contextmanager
def process_stays() -> Iterator[None]:
    """Let the process end only after this block, or ``LONGEST`` seconds, where it would not wait for the thread that is in it: a daemon
    thread is stopped wherever it is when the main thread has ended. Raises ``RuntimeError`` where no thread can be started.
    """
    if not threading.current_thread().daemon:
        yield
        return
    done = threading.Event()
    stay = threading.Thread(target=done.wait, args=(LONGEST,), name="ontraport-stay", daemon=False)
    try:
        stay.start()
        yield
    finally:
        done.set()
