"""What an interruption leaves (Ctrl-C, a soft time limit, gevent's timeout), which may come between any two steps"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from billiard.exceptions import SoftTimeLimitExceeded
from django.db import connections

from ontraport_connect.database import alias, limit_anew

MOST_IN_VAIN = 20
PAUSE = 0.001
"""Seconds by which the pause grows after each step that was in vain."""


def is_interruption(error: BaseException) -> bool:
    """Tell whether somebody outside ended what was being done, rather than something in it went wrong."""
    return not isinstance(error, Exception) or isinstance(error, SoftTimeLimitExceeded)


def renew_connection() -> None:
    """Close this thread's connection, where no transaction of the caller was open. An interruption between BEGIN and Django's note of it
    leaves a transaction that Django knows nothing of, and what is saved in that is never committed. Raises nothing: what was interrupted
    is to be saved, and Django forgets a connection even if closing it fails.
    """
    connection = connections[alias()]
    connection.in_atomic_block = False
    with suppress(BaseException):
        connection.close()
    with suppress(Exception):
        limit_anew()


def do_what_is_left(step: Callable[[], None], is_any_left: Callable[[], bool]) -> BaseException | None:
    """Run a step until nothing is left to do, each time on a new connection where something was raised, and return what was raised first.

    What is raised ``MOST_IN_VAIN`` times in a row ends this, too, so that no process does it for ever.
    """
    raised: BaseException | None = None
    is_renewed, in_vain = False, 0
    while is_any_left() and in_vain < MOST_IN_VAIN:
        try:
            if not is_renewed:
                time.sleep(PAUSE * in_vain)  # in which other greenlets run
                renew_connection()
            is_renewed = True
            step()
            in_vain = 0
        except BaseException as error:  # noqa: BLE001  # returned when all is done
            raised, is_renewed, in_vain = raised or error, False, in_vain + 1
    return raised
