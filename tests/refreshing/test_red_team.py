"""What ended links when the site was attacked with real traffic, at the size of the attack; ``ROUNDS=10`` plays each scene ten times.

Two more scenes are in ``test_takeover``: one row or table that is locked while answers come, and a worker that is stopped for a minute.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial

import pytest
from django.db import OperationalError, transaction

from ontraport_connect import database
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import batches, one_account
from tests.refreshing.test_crashes import let_the_lease_end
from tests.refreshing.test_one_account import Undone, in_thread, rolled_back
from tests.refreshing.test_rollbacks import change, refresh_elsewhere
from tests.support.accounts import linked, read
from tests.support.strict_server import StrictServer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("round_", range(int(os.environ.get("ROUNDS", "1")))),
]


def assert_all_live(strict: StrictServer, accounts: list[OntraportAccount]) -> None:
    """Each link is refreshed twice more, and none of its tokens was ever sent twice. An answer that was noted since its row was locked is
    taken over once the lease of who noted it has ended.
    """
    let_the_lease_end()
    for _ in range(2):
        for account in accounts:
            one_account.refresh(read(account))
    assert strict.dead == []
    assert all(grant.reuses == 0 for grant in strict.endpoint.grants.values())
    assert not OntraportAccount.objects.exclude(status=Status.CONNECTED).exists()


def test_forty_views_fail_while_three_rivals_come_by(strict: StrictServer, round_: int) -> None:
    accounts = [linked(f"g{number}") for number in range(40)]
    stop = threading.Event()

    def rival() -> None:
        while not stop.is_set():
            for account in accounts:
                with suppress(OntraportError, OperationalError):
                    one_account.ensure_fresh(read(account))

    with in_thread(rival), in_thread(rival), in_thread(rival):
        try:
            for account in accounts:
                with suppress(OntraportError), rolled_back():
                    change(account)
                    one_account.refresh(account)
        finally:
            stop.set()
    assert_all_live(strict, accounts)


def test_a_view_goes_on_after_a_savepoint_and_a_worker_comes_by(strict: StrictServer, round_: int) -> None:
    accounts = [linked(f"g{number}") for number in range(10)]
    for account in accounts:
        with transaction.atomic():
            with rolled_back():
                change(account)
                one_account.refresh(account)
            if not database.has_one_writer():
                refresh_elsewhere(account)
        refresh_elsewhere(account)
    assert strict.requests == 10
    assert_all_live(strict, accounts)


def test_eight_links_are_refreshed_in_views_that_fail_again_and_again(strict: StrictServer, round_: int) -> None:
    """Four threads, each view inside its own transaction, half of which fail after the refresh."""
    accounts = [linked(f"g{number}") for number in range(8)]
    end = time.monotonic() + 2

    def browse(share: list[OntraportAccount]) -> None:
        fails = True
        while time.monotonic() < end:
            fails = not fails
            for account in share:
                with suppress(Undone, OntraportError, OperationalError), transaction.atomic():
                    one_account.refresh(read(account))
                    if fails:
                        raise Undone

    shares = [accounts, accounts[::-1], accounts[4:], accounts[:4]]
    with ExitStack() as stack:
        for share in shares:
            stack.enter_context(in_thread(partial(browse, share)))
    assert_all_live(strict, accounts)


@pytest.mark.server_database
def test_an_admin_disconnects_eight_links_slowly_and_nineteen_others_are_refreshed(
    strict: StrictServer, round_: int
) -> None:
    """The transaction that deletes the eight is open from before the answers come until every lease has ended."""
    accounts = [linked(f"g{number}") for number in range(27)]
    gone, others = accounts[:8], accounts[8:]
    strict.behave(hold="after")
    deleted, done = threading.Event(), threading.Event()

    def disconnect() -> None:
        with transaction.atomic():
            OntraportAccount.objects.filter(pk__in=[account.pk for account in gone]).delete()
            deleted.set()
            assert done.wait(60)

    with in_thread(lambda: batches.refresh_batch([account.pk for account in accounts])) as batch:
        strict.wait_for_held(27)
        with in_thread(disconnect):
            assert deleted.wait(20)
            started = time.monotonic()
            strict.release()
            batch.result(60)
            assert time.monotonic() - started < 30
            assert not OntraportAccount.objects.filter(pk__in=[each.pk for each in others], version=0).exists()
            done.set()
    strict.behave()
    assert_all_live(strict, others)
