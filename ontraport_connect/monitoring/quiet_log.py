"""The log of this app: whatever a filter or a handler of the site raises, the work that is told of goes on"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any


class QuietLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods raise no ``Exception``: it is used where tokens are held that exist nowhere else."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        with suppress(Exception):
            super().log(level, msg, *args, **{**kwargs, "stacklevel": 2})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave the fields of a record as they were given, which the base class replaces by its own."""
        return msg, kwargs


logger = QuietLog(logging.getLogger("ontraport_connect"), None)
