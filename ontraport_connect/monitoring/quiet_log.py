"""The log of this app: whatever a filter or a handler of the site raises or waits for, the work that is told of goes on"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from functools import partial
from typing import Any

from .afterwards import tell


class QuietLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods raise no ``Exception``, and wait for no handler where tokens are held that exist nowhere else."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        with suppress(Exception):
            if self.isEnabledFor(level):
                tell(partial(self._handle, self._record(level, msg, args, **kwargs)))

    def _record(
        self, level: int, msg: object, args: tuple[object, ...], *, exc_info: Any = None, extra: Any = None
    ) -> logging.LogRecord:
        """Return the record as it is now: when it is handled, the error that is told of is no longer being handled."""
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info:
            exc_info = sys.exc_info()
        path, line, function, stack = self.logger.findCaller(stacklevel=3)
        return self.logger.makeRecord(self.logger.name, level, path, line, msg, args, exc_info, function, extra, stack)

    def _handle(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            self.logger.handle(record)


logger = QuietLog(logging.getLogger("ontraport_connect"), None)
