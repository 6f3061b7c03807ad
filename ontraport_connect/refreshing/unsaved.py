"""Answers of a batch that could not be saved, and when each is tried again. They exist nowhere else."""

from __future__ import annotations

import time
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from ontraport_connect.database import DATABASE_IS_AWAY, PATIENCE
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import Grant

from .leases import Lease
from .outcomes import Outcome

UNSAVED = "unsaved"
"""The code of a refresh whose answer could be saved nowhere."""


class Unsaved:
    """A grant that the database took neither in its row nor beside it (both tables are locked, say) has its turn when nothing else is left
    to do: at least twice, and for ``PATIENCE`` seconds from its first try. Whatever else failed is put back to ``done``, once.
    """

    def __init__(self, done: SimpleQueue[Future[Any]]) -> None:
        self._done = done
        self._until: dict[Future[Any], float] = {}
        self._put_back = set[Future[Any]]()
        self._failed = set[Future[Any]]()
        self._waiting: list[Future[Any]] = []

    def __contains__(self, future: Future[Any]) -> bool:
        return future in self._waiting

    def next(self) -> list[Future[Any]]:
        """Return the answer that has waited for the longest, if there is one."""
        return [self._waiting.pop(0)] if self._waiting else []

    def begin(self, future: Future[Any]) -> None:
        """Note that an answer is about to be saved."""
        self._until.setdefault(future, time.monotonic() + PATIENCE)

    def is_tried_again(self, future: Future[Any], lease: Lease, outcome: Outcome, error: BaseException) -> bool:
        """Give what could not be saved another turn, and tell whether it gets one."""
        if not is_unsaved(outcome, error):
            return self._is_put_back(future)
        is_first = future not in self._failed
        self._failed.add(future)
        if is_first:
            logger.warning(
                "The new tokens of account %s can be saved nowhere now; that is tried again.", lease.account.uid
            )
        if is_first or time.monotonic() < self._until[future]:
            self._waiting.append(future)
            return True
        logger.error(
            "The new tokens of account %s could be saved nowhere; they are lost.", lease.account.uid, exc_info=error
        )
        return False

    def _is_put_back(self, future: Future[Any]) -> bool:
        is_first = future not in self._put_back
        if is_first:
            self._put_back.add(future)
            self._done.put(future)
        return is_first


def is_unsaved(outcome: Outcome, error: BaseException) -> bool:
    """Tell whether a grant is nowhere but here."""
    return isinstance(outcome, Grant) and isinstance(error, DATABASE_IS_AWAY)


def lost() -> OntraportUnavailable:
    return OntraportUnavailable("The new tokens could be saved nowhere.", code=UNSAVED)
