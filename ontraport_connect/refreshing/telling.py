"""Tell the site what has happened, by a signal: whatever its receivers do, the work goes on"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from django.dispatch import Signal

from ontraport_connect import monitoring
from ontraport_connect.database import any_database


def tell(signal: Signal, sender: Any, **values: Any) -> None:
    """Send a signal; one of a batch, when all that came is saved. What receivers raise is logged by Django; what the site's log raises in
    turn is dropped. Only what ends a process (a ``BaseException``) is raised.
    """
    monitoring.tell(partial(_send, signal, sender, values))


def _send(signal: Signal, sender: Any, values: dict[str, Any]) -> None:
    with any_database(), suppress(Exception):
        signal.send_robust(sender=sender, **values)
