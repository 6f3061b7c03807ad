"""Rows that somebody else holds: work in the background passes over them, and does them in its next run.

To wait for one could take any time (an idle ``psql``, a slow page), and each run that waits keeps a worker process from all other work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError

from ontraport_connect.database import (
    alias,
    is_lock_timeout,
    passes_over_locked_rows_in_one,
    row_lock,
    short_lock_waits_here,
)
from ontraport_connect.monitoring import logger


def unlocked(rows: Any) -> Any:
    """Return those of ``rows`` that no open transaction holds. Call it in a transaction, which then holds them."""
    free: Any = rows.select_for_update(**row_lock()).order_by().values_list("pk", flat=True)
    if not passes_over_locked_rows_in_one():
        free = list(free)
    return rows.model._default_manager.using(alias()).filter(pk__in=free)


@contextmanager
def left_if_locked(what: str) -> Iterator[None]:
    """End this block where somebody holds a row that it writes, or its table, for longer than ``LOCK_TIMEOUT``; ``what`` tells the log."""
    try:
        with short_lock_waits_here():
            yield
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
        logger.warning("Somebody else holds %s; that is left to the next run.", what)
