"""A process waits for a daemon thread that holds what exists nowhere else."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from ontraport_connect.refreshing import one_account, recovery
from ontraport_connect.refreshing.process_end import process_stays
from tests.refreshing.test_crashes import let_the_lease_end
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def waiting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ontraport-stay"]


def test_a_daemon_thread_keeps_the_process_until_it_is_done() -> None:
    seen: list[bool] = []

    def work() -> None:
        with process_stays():
            seen.extend(not thread.daemon for thread in waiting())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    for stays in waiting():
        stays.join(10)
    assert (seen, waiting()) == ([True], [])


def test_any_other_thread_keeps_it_anyway() -> None:
    with process_stays():
        assert waiting() == []


DAEMON = """
import django, threading, time
django.setup()
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import {names}
account = OntraportAccount.objects.get()
{view}
threading.Thread(target=lambda: {call}, daemon=True).start()
time.sleep(1)
"""

VIEW = """
from django.db import transaction
def view():
    with transaction.atomic():
        OntraportAccount.objects.update(label="changed")
        refresh(account)
        time.sleep(60)
"""


@pytest.mark.server_database
@pytest.mark.parametrize(
    ("names", "call", "view"),
    [
        ("refresh", "refresh(account)", ""),
        ("refresh", "view()", VIEW),
        ("refresh_batch", "refresh_batch([account.pk])", ""),
    ],
    ids=["alone", "inside", "batch"],
)
def test_a_script_ends_while_its_daemon_thread_refreshes(
    strict: StrictServer, child_environ: Callable[..., dict[str, str]], names: str, call: str, view: str
) -> None:
    """Inside a transaction that is never committed, what came is noted; in each case one request is made."""
    account = linked("one")
    strict.behave(delay=2)
    script = DAEMON.format(names=names, call=call, view=view)
    run = subprocess.run([sys.executable, "-c", script], env=child_environ(**strict.settings), timeout=60, check=False)
    strict.behave()
    let_the_lease_end()
    recovery.recover_all()
    assert (run.returncode, strict.requests, token_of(account)) == (0, 1, "a.one.1")
    one_account.refresh(read(account))
    assert strict.dead == []
