"""Whichever line is interrupted once a row is claimed (Ctrl-C, a soft time limit), what was sent is saved and no lease is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.db import transaction

from ontraport_connect import refreshing
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, one_account, recovery
from tests.refreshing.test_crashes import let_the_lease_end
from tests.support.accounts import linked, read
from tests.support.strict_server import StrictServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]

WING = Path(refreshing.__file__).parent
MODULES = {
    str(WING / f"{name}.py")
    for name in ("batches", "claiming", "claims", "leases", "one_account", "outcomes", "recovery", "saving", "spending")
}
"""What runs in the caller's thread between the claim and the end."""

Line = tuple[str, int]


class Interrupted(BaseException):
    """What Ctrl-C is."""


class Tracer:
    """Lists the lines that are run, or raises at one of them, for the first time that it is run."""

    def __init__(self, line: Line | None = None) -> None:
        self.line = line
        self.lines: dict[Line, None] = {}

    def __call__(self, frame: FrameType, event: str, value: Any) -> Any:
        return self.look if frame.f_code.co_filename in MODULES else None

    def look(self, frame: FrameType, event: str, value: Any) -> Any:
        line = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and line not in self.lines:
            self.lines[line] = None
            if line == self.line:
                raise Interrupted
        return self.look


def refresh_alone(accounts: list[OntraportAccount]) -> None:
    one_account.refresh(accounts[0])


def refresh_inside(accounts: list[OntraportAccount]) -> None:
    with transaction.atomic():
        one_account.refresh(accounts[0])


def refresh_batch(accounts: list[OntraportAccount]) -> None:
    batches.refresh_batch([account.pk for account in accounts])


@contextmanager
def traced(tracer: Tracer) -> Iterator[None]:
    before = sys.gettrace()  # it is how coverage is measured
    sys.settrace(tracer)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize(
    ("refresh", "count"),
    [(refresh_alone, 1), (refresh_inside, 1), (refresh_batch, 3)],
    ids=["one account", "inside", "a batch"],
)
def test_whatever_line_is_interrupted(
    strict: StrictServer, refresh: Callable[[list[OntraportAccount]], None], count: int
) -> None:
    names = iter(range(10_000))

    def new_accounts() -> list[OntraportAccount]:
        return [linked(f"g{next(names)}") for _ in range(count)]

    everything = Tracer()
    with traced(everything):
        refresh(new_accounts())
    assert len(everything.lines) > 100
    for line in everything.lines:
        accounts = new_accounts()
        tracer = Tracer(line)
        with suppress(Interrupted), traced(tracer):
            refresh(accounts)
        assert not OntraportAccount.objects.exclude(lease_until=None).exists(), line
        let_the_lease_end()
        recovery.recover_all()
        for account in accounts:
            one_account.refresh(read(account))
        assert strict.dead == [], line
        OntraportAccount.objects.all().delete()
