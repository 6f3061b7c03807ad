"""A limit on the time that other people's code takes"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AGAIN = 1.0
"""Seconds after which the block is interrupted again, as long as it goes on."""


class TimeIsUp(BaseException):
    """Raised in a block whose time is up. It is no ``Exception``, and no ``OSError``: those a mail backend or a client may swallow, or take
    for a lost connection. To be let pass.
    """


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after ``seconds``, whatever it waits for, and every second from then on until it has ended: it may wait again
    while it cleans up. Raises ``TimeoutError`` once it has. In the block, that is ``TimeIsUp``.

    It takes a timer that only the main thread has, and not on Windows; elsewhere there is no limit. One block at a time has one.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    has_ended = False

    def interrupt(number: int, frame: object) -> None:
        if not has_ended:
            raise TimeIsUp

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            has_ended = True
    except TimeIsUp:
        raise TimeoutError from None
    finally:
        has_ended = True  # also where the interruption came before that could be noted
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
