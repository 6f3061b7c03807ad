"""Each fault of the network in each flow that talks to Ontraport: one typed error or one page, in time, and nothing lost that need not be.

The proxy stands before the real authorization server of the sandbox. What is right afterwards is asked of the sandbox: whether it has
served the request. If it has, and the answer to a refresh is lost, the link is the one that nobody can keep (docs/operations.md).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
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
"""While the fault lasts. A fault that is to outlast it lasts for longer, or for as long as anybody waits."""

PATIENT = (0.3, 0.3)
"""The same where something else has to work meanwhile."""

LONGEST = sum(PATIENT) + 5
"""Seconds for one faulty call on a slow machine: less than the quickest of our answers takes when it drips."""
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
    "a length that is none": Fault(kind=Kind.CORRUPT, in_answer=True, behind=LENGTH),
    "a body that is no text": Fault(kind=Kind.CORRUPT, in_answer=True, behind=BODY, after=3, length=3),
}

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

SOME = FAULTS if os.environ.get("ALL_FAULTS") else ONE_OF_EACH_KIND
"""All of them meet the refresh and the exchange; what uses the same transport meets one of each kind, or all if the environment says so."""


@contextmanager
def meeting(proxy: FaultProxy, *faults: Fault | None, timeout: tuple[float, float] = TIMEOUT) -> Iterator[None]:
    """Let connections meet these faults, and require that what is done meanwhile is done in time."""
    proxy.meet(*faults)
    started = time.monotonic()
    with override_settings(ONTRAPORT_TIMEOUT=timeout):
        yield
    assert time.monotonic() - started < LONGEST
    proxy.settle()


def a_moment_ago() -> datetime:
    return timezone.now() - timedelta(seconds=1)


def error_of(step: Callable[[], object]) -> OntraportError | None:
    """Do it, and return the typed error; any other fails the test."""
    try:
        step()
    except OntraportError as error:
        return error
    return None


def spent(sandbox: Sandbox, username: str = "owner") -> int:
    """How often the latest grant of this person was refreshed at the sandbox."""
    return next(int(grant["refreshes"]) for grant in sandbox.state()["grants"] if grant["username"] == username)


def alive(sandbox: Sandbox) -> int:
    return sum(bool(grant["alive"]) for grant in sandbox.state()["grants"])


def secrets_of(account: OntraportAccount) -> tuple[str, str]:
    row = read(account)
    return row.access_token.reveal(), row.refresh_token.reveal()


@dataclass(frozen=True, kw_only=True)
class Before:
    """What an account and the sandbox held before the fault."""

    secrets: tuple[str, str]
    spent: int


def before(account: OntraportAccount, sandbox: Sandbox, username: str = "owner") -> Before:
    return Before(secrets=secrets_of(account), spent=spent(sandbox, username))


def assert_nothing_was_lost_in_vain(
    account: OntraportAccount, then: Before, sandbox: Sandbox, *, failed: bool, username: str = "owner"
) -> bool:
    """Require that the row has the old tokens or the current ones, and that the next refresh works unless the answer to a served request
    was lost. Returns whether it was.
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
