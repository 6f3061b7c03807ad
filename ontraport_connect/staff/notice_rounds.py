"""Send the e-mails of both kinds, each kind within its time"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .change_notices import send_change_notices
from .notices import send_due_notices
from .time_limits import time_limit

LONGEST = 1.25
"""The part of its time after which a kind is interrupted: what was begun last needs some time, too."""


def send_notices(seconds: float) -> int:
    """Send the notices that are due, and those of changes. Returns how many were sent before a limit, if one was reached, ended their kind.

    After ``seconds``, or half of that for changes, no e-mail is begun; what still waits for its mail server after ``LONGEST`` of that time
    is interrupted, and tried again later.
    """
    return _within(send_due_notices, seconds) + _within(send_change_notices, seconds / 2)


def _within(send: Callable[[float], int], seconds: float) -> int:
    with suppress(TimeoutError), time_limit(LONGEST * seconds):
        return send(seconds)
    return 0
