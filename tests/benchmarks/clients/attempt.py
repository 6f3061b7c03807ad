"""What the measured clients share: one attempt per process, with its outcome printed as a line of JSON."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable

TIMEOUT = 3.0
"""Seconds to wait, given to each library by the option that it documents."""

MEMORY = 4 * 2**30
"""Bytes of address space, so that no library can exhaust the machine."""


def main(
    refusals: tuple[type[BaseException], ...],
    *,
    exchange: Callable[[str], object],
    callback: Callable[[str, str, str], object],
) -> None:
    """Run ``exchange URL`` or ``callback URL ISSUER ISS`` of the command line.

    ``refusals`` are the errors that the library documents or catches itself; any other error is a crash. ``callback`` handles an
    authorization response with the ``iss`` of the last argument, while the server that was asked is ``ISSUER``.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    step, *words = sys.argv[1:]
    steps: dict[str, Callable[..., object]] = {"exchange": exchange, "callback": callback}
    try:
        steps[step](*words)
    except refusals as error:
        outcome = ("refused", type(error).__name__)
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is what is measured
        outcome = ("crashed", type(error).__name__)
    else:
        outcome = ("accepted", "")
    print(json.dumps(outcome), flush=True)
