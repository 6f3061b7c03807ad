"""Whichever line is interrupted once a token was sent (Ctrl-C, a soft time limit), the answer is saved and no lease is left."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ontraport_connect import refreshing
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, one_account, recovery
from tests.refreshing.test_crashes import let_the_lease_end
from tests.support.accounts import linked, read
from tests.support.strict_server import StrictServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]

WING = Path(refreshing.__file__).parent
MODULES = {str(WING / f"{name}.py") for name in ("batches", "claims", "outcomes", "saving", "spending")}
"""What runs in the caller's thread between the answer and the end."""

Line = tuple[str, int]


class Interrupted(BaseException):
    """What Ctrl-C is."""


class Tracer:
    """Lists the lines that are run once ``strict`` has got a request, or raises at one of them, for the first time that it is run."""

    def __init__(self, strict: StrictServer, line: Line | None = None) -> None:
        self.strict, self.line, self.requests = strict, line, strict.requests
        self.lines: dict[Line, None] = {}

    def __call__(self, frame: FrameType, event: str, value: Any) -> Any:
        return self.look if frame.f_code.co_filename in MODULES else None

    def look(self, frame: FrameType, event: str, value: Any) -> Any:
        line = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and line not in self.lines and self.strict.requests > self.requests:
            self.lines[line] = None
            if line == self.line:
                raise Interrupted
        return self.look


def refresh(accounts: list[OntraportAccount], tracer: Tracer) -> None:
    before = sys.gettrace()  # it is how coverage is measured
    sys.settrace(tracer)
    try:
        if len(accounts) > 1:
            batches.refresh_batch([account.pk for account in accounts])
        else:
            one_account.refresh(accounts[0])
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("count", [1, 3], ids=["one account", "a batch"])
def test_whatever_line_is_interrupted(strict: StrictServer, count: int) -> None:
    names = iter(range(10_000))

    def new_accounts() -> list[OntraportAccount]:
        return [linked(f"g{next(names)}") for _ in range(count)]

    everything = Tracer(strict)
    refresh(new_accounts(), everything)
    assert len(everything.lines) > 40
    for line in everything.lines:
        accounts = new_accounts()
        tracer = Tracer(strict, line)
        with suppress(Interrupted):
            refresh(accounts, tracer)
        assert not OntraportAccount.objects.exclude(lease_until=None).exists(), line
        let_the_lease_end()
        recovery.recover_all()
        for account in accounts:
            one_account.refresh(read(account))
        assert strict.dead == [], line
        OntraportAccount.objects.all().delete()
