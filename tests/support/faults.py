"""Network faults, and what must hold after each: one typed error or one page, in time, and no link lost that could have been kept.

The proxy stands in front of the sandbox's real authorization server. The sandbox is asked afterwards whether it served the request. If it
did, and the response to a refresh was lost, the link cannot be kept (docs/operations.md).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect.exceptions import OntraportError, ReconnectRequired
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import one_account
from tests.support import ontraport
from tests.support.accounts import read
from tests.support.fault_proxy import Fault, FaultProxy, Kind
from tests.support.servers import Sandbox

TIMEOUT = (0.1, 0.1)
"""Seconds to connect and to read while a fault lasts. A fault that must outlast them lasts longer."""

PATIENT = (0.3, 0.3)
"""The same, where other requests have to succeed meanwhile."""

LONGEST = sum(PATIENT) + 5
"""Seconds that one faulty call may take on a slow machine: less than the shortest of our responses takes to drip."""
BODY = b"\r\n\r\n"
LENGTH = b"Content-Length: "
LATE = 0.4

FAULTS = {
    "a black hole": Fault(kind=Kind.BLACK_HOLE, in_answer=False),
    "a reset at the first byte": Fault(kind=Kind.RESET, in_answer=False),
    "a reset in the request's head": Fault(kind=Kind.RESET, in_answer=False, after=30),
    "a reset in the request's body": Fault(kind=Kind.RESET, in_answer=False, behind=BODY, after=20),
    "a request that is cut short": Fault(kind=Kind.TRUNCATE, in_answer=False, after=60),
    "a request half-closed": Fault(kind=Kind.HALF_CLOSE, in_answer=False, after=10),
    "a request that drips": Fault(kind=Kind.DRIP, in_answer=False, seconds=0.05),
    "a request that is late": Fault(kind=Kind.LATENCY, in_answer=False, seconds=LATE),
    "a request with another method": Fault(kind=Kind.CORRUPT, in_answer=False),
    "a reset before the answer": Fault(kind=Kind.RESET, in_answer=True),
    "a reset in the answer's head": Fault(kind=Kind.RESET, in_answer=True, after=30),
    "a reset in the answer's body": Fault(kind=Kind.RESET, in_answer=True, behind=BODY, after=5),
    "an answer that is cut short": Fault(kind=Kind.TRUNCATE, in_answer=True, behind=BODY),
    "an answer half-closed": Fault(kind=Kind.HALF_CLOSE, in_answer=True, behind=BODY, after=1),
    "an answer that stops": Fault(kind=Kind.BLACK_HOLE, in_answer=True, behind=BODY, after=1),
    "an answer that drips": Fault(kind=Kind.DRIP, in_answer=True, seconds=0.05),
    "an answer that is late": Fault(kind=Kind.LATENCY, in_answer=True, seconds=LATE),
    "a status that is none": Fault(kind=Kind.CORRUPT, in_answer=True, after=9),
    "a body that is no text": Fault(kind=Kind.CORRUPT, in_answer=True, behind=BODY, after=3, length=3),
}

UNREADABLE_LENGTH = Fault(kind=Kind.CORRUPT, in_answer=True, behind=LENGTH)
"""All of the answer comes, and its end cannot be told: a token response is taken, any other answer is not."""

ONE_OF_EACH_KIND = {
    name: FAULTS[name]
    for name in (
        "a black hole",
        "a reset in the request's head",
        "a request half-closed",
        "a reset before the answer",
        "an answer that is cut short",
        "an answer that drips",
        "an answer that is late",
        "a status that is none",
    )
}

MOST = ONE_OF_EACH_KIND if settings.SECURE_SSL_REDIRECT else FAULTS
"""All of them, or one of each kind with the settings of cookiecutter-django, which play no part in how a line breaks."""

ALL = {**FAULTS, "a length that is none": UNREADABLE_LENGTH}
SOME = ALL if os.environ.get("ALL_FAULTS") else ONE_OF_EACH_KIND
"""The refresh and the exchange meet all faults. Other flows use the same transport and meet one of each kind, or all with ``ALL_FAULTS``.
"""


@contextmanager
def meeting(proxy: FaultProxy, *faults: Fault | None, timeout: tuple[float, float] = TIMEOUT) -> Iterator[None]:
    """Give the next connections these faults, and require that the body of the block ends in time."""
    proxy.meet(*faults)
    started = time.monotonic()
    with override_settings(ONTRAPORT_TIMEOUT=timeout):
        yield
    assert time.monotonic() - started < LONGEST
    proxy.settle()


def a_moment_ago() -> datetime:
    return timezone.now() - timedelta(seconds=1)


def error_of(step: Callable[[], object]) -> OntraportError | None:
    """Run ``step`` and return its typed error, or ``None``. Any other exception fails the test."""
    try:
        step()
    except OntraportError as error:
        return error
    return None


def spent(sandbox: Sandbox, username: str = "owner") -> int:
    """Return how often the sandbox refreshed this person's latest grant."""
    return next(int(grant["refreshes"]) for grant in sandbox.state()["grants"] if grant["username"] == username)


def alive(sandbox: Sandbox) -> int:
    return sum(bool(grant["alive"]) for grant in sandbox.state()["grants"])


def secrets_of(account: OntraportAccount) -> tuple[str, str]:
    row = read(account)
    return row.access_token.reveal(), row.refresh_token.reveal()


@dataclass(frozen=True, kw_only=True)
class Before:
    """The tokens of an account and its number of refreshes at the sandbox, before the fault."""

    secrets: tuple[str, str]
    spent: int


def before(account: OntraportAccount, sandbox: Sandbox, username: str = "owner") -> Before:
    return Before(secrets=secrets_of(account), spent=spent(sandbox, username))


def assert_nothing_was_lost_in_vain(
    account: OntraportAccount, then: Before, sandbox: Sandbox, *, failed: bool, username: str = "owner"
) -> bool:
    """Require that the row holds the old tokens or the current ones, and that the next refresh works unless the response to a served
    request was lost. Returns whether it was lost.
    """
    row = read(account)
    is_served = spent(sandbox, username) > then.spent
    assert row.status == Status.CONNECTED
    assert row.lease_until is None
    assert (secrets_of(account) == then.secrets) is failed
    assert is_served or failed
    if is_served and failed:
        with pytest.raises(ReconnectRequired):
            one_account.refresh(row)
        assert read(account).status == Status.NEEDS_RECONNECT
        return True
    one_account.refresh(row)
    assert (row.failures, row.status) == (0, Status.CONNECTED)
    return False


def relink(browser: Client, account: OntraportAccount, username: str = "owner") -> None:
    button = browser.post(reverse("ontraport_connect:reconnect", args=[account.uid]))
    response = ontraport.come_back(browser, ontraport.consent(button["Location"], username=username))
    assert response["Location"] == reverse("ontraport_connect:accounts")
