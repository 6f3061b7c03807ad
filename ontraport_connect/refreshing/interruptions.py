"""What an interruption leaves (Ctrl-C, a soft time limit, gevent's timeout), which may come between any two steps"""

from __future__ import annotations

from billiard.exceptions import SoftTimeLimitExceeded
from django.db import connections

from ontraport_connect.database import alias


def is_interruption(error: BaseException) -> bool:
    """Tell whether somebody outside ended what was being done, rather than something in it went wrong."""
    return not isinstance(error, Exception) or isinstance(error, SoftTimeLimitExceeded)


def renew_connection() -> None:
    """Close this thread's connection, where no transaction of the caller was open. An interruption between BEGIN and Django's note of it
    leaves a transaction that Django knows nothing of, and what is saved in that is never committed.
    """
    connection = connections[alias()]
    connection.in_atomic_block = False
    connection.close()
