"""What happened, told to the log, to Prometheus and to OpenTelemetry"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from . import prometheus
from .spans import result_of, span

logger = logging.getLogger("ontraport_connect.refreshing")
"""A logger of its own, so that a large site can do without a line a refresh."""


def refresh_ended(account: UUID, result: str, seconds: float) -> None:
    """Report one refresh. ``result`` is ``refreshed``, the code of an error, or what became of the new tokens where the row did not take
    them; ``seconds`` is the time since the row was claimed. To be called after the answer was saved: nothing may delay that.
    """
    with suppress(Exception):
        prometheus.count_refresh(result, seconds)
    with suppress(Exception):
        fields = {"event": "ontraport.refresh", "account": str(account), "result": result, "seconds": round(seconds, 3)}
        logger.info("Refresh of account %s: %s after %.2f s.", account, result, seconds, extra=fields)


def turn_reserved(wait: float) -> None:
    """Report that the rate limiter let a call through, in ``wait`` seconds."""
    with suppress(Exception):
        prometheus.count_turn("waited" if wait else "at_once", wait)


def turn_refused() -> None:
    """Report that the rate limiter refused a call, which would have waited for too long."""
    with suppress(Exception):
        prometheus.count_turn("refused", None)


@contextmanager
def calling(api: str, **attributes: str) -> Iterator[None]:
    """Report the call to Ontraport that is made in this block: its duration with all waits, and its result (``ok``, or an error's code).

    ``api`` is ``rest`` or ``mcp``; ``attributes`` are those of the span, and must not hold a secret or a query.
    """
    began, result = time.monotonic(), "ok"
    try:
        with span(f"ontraport.{api}", **attributes):
            yield
    except BaseException as error:
        result = result_of(error)
        raise
    finally:
        with suppress(Exception):
            prometheus.count_call(api, result, time.monotonic() - began)
