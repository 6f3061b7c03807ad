"""A process is killed with SIGKILL in the middle of a refresh: what the row says, what Ontraport says, and how they agree again."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from ontraport_connect.exceptions import ReconnectRequired
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import batches, one_account
from tests.support.accounts import linked, read, token_of
from tests.support.mariadb import MariaDB
from tests.support.servers import PostgreSQL, Process, wait_until
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

Environ = Callable[..., dict[str, str]]


@contextmanager
def child(environ: dict[str, str], log: Path, *arguments: str) -> Iterator[Process]:
    process = Process(sys.executable, "-m", "tests.support.engine_child", *arguments, log=log, environ=environ)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)


def let_the_lease_end() -> None:
    OntraportAccount.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))


def assert_lease_ends_soon() -> None:
    """Check that somebody else may claim the row within one cycle of beat."""
    row: Any = OntraportAccount.objects.get()
    assert row.lease_until < timezone.now() + timedelta(seconds=60)


@pytest.mark.parametrize("point", ["after the claim", "before sending"])
@pytest.mark.parametrize("how", ["alone", "batch"])
def test_killed_after_the_claim_nothing_was_spent(
    strict: StrictServer, child_environ: Environ, tmp_path: Path, point: str, how: str
) -> None:
    account = linked("one")
    with child(child_environ(**strict.settings), tmp_path / "log", "kill", point, how) as process:
        assert process.child.wait(20) == -signal.SIGKILL, process.output
    assert strict.requests == 0
    assert_lease_ends_soon()
    assert batches.refresh_batch([account.pk]) == {}
    let_the_lease_end()
    assert batches.refresh_batch([account.pk]) == {"refreshed": 1}
    assert (token_of(account), strict.dead) == ("a.one.1", [])


def test_killed_while_ontraport_has_not_looked_at_the_request_yet_the_link_lives(
    strict: StrictServer, child_environ: Environ, tmp_path: Path
) -> None:
    """Here the request is lost with the connection. The next test is about one that Ontraport serves all the same."""
    account = linked("one")
    strict.behave(hold="before")
    with child(child_environ(**strict.settings), tmp_path / "log", "kill", "never", "alone") as process:
        strict.wait_for_held()
        process.stop(signal.SIGKILL)
    assert strict.endpoint.grant("one").serial == 0
    assert_lease_ends_soon()
    strict.release()
    let_the_lease_end()
    one_account.refresh(account)
    assert (token_of(account), strict.dead) == ("a.one.1", [])


@pytest.mark.parametrize("point", ["while waiting", "after the answer", "before the save"])
@pytest.mark.parametrize("how", ["alone", "batch"])
def test_killed_between_ontraports_commit_and_ours_the_customer_is_asked_to_reconnect_within_a_cycle(
    strict: StrictServer, child_environ: Environ, tmp_path: Path, point: str, how: str
) -> None:
    """The window that cannot be closed: the only copy of the new token died with the process."""
    account = linked("one")
    strict.behave(hold="after" if point == "while waiting" else "")
    with child(child_environ(**strict.settings), tmp_path / "log", "kill", point, how) as process:
        if point == "while waiting":
            strict.wait_for_held()
            process.stop(signal.SIGKILL)
        assert process.child.wait(20) == -signal.SIGKILL, process.output
    strict.release()
    assert strict.endpoint.grant("one").serial == 1
    assert_lease_ends_soon()
    let_the_lease_end()
    assert batches.refresh_batch([account.pk]) == {"invalid_grant": 1}
    assert read(account).status == Status.NEEDS_RECONNECT
    with pytest.raises(ReconnectRequired):
        one_account.ensure_fresh(read(account))


@pytest.mark.parametrize("how", ["alone", "batch"])
def test_killed_after_the_save_nothing_is_lost(
    strict: StrictServer, child_environ: Environ, tmp_path: Path, how: str
) -> None:
    account = linked("one")
    with child(child_environ(**strict.settings), tmp_path / "log", "kill", "after the save", how) as process:
        assert process.child.wait(20) == -signal.SIGKILL, process.output
    assert (token_of(account), read(account).lease_until) == ("a.one.1", None)
    one_account.refresh(read(account))
    assert (token_of(account), strict.dead) == ("a.one.2", [])


@pytest.mark.server_database
def test_a_database_that_crashes_and_restarts_under_load_costs_no_link(
    strict: StrictServer, child_environ: Environ, tmp_path: Path, database_server: PostgreSQL | MariaDB
) -> None:
    for number in range(20):
        linked(f"g{number}", refresh_at=timezone.now() - timedelta(seconds=number))
    strict.run(lambda: setattr(strict.endpoint, "lifetime", 2))
    strict.behave(delay=0.05)
    with child(child_environ(**strict.settings), tmp_path / "log", "mixed", database_server.two_restarts) as process:
        for how in (database_server.fast_shutdown, database_server.crash):
            before = strict.requests
            wait_until(lambda before=before: strict.requests > before + 20, "refreshes")  # type: ignore[misc]
            connections.close_all()
            database_server.restart(how)
        before = strict.requests
        wait_until(lambda: strict.requests > before + 20, "refreshes after the restart")
        assert process.child.wait(60) == 0, process.output
    assert process.output.count("worked") == 4
    connections.close_all()
    assert strict.dead == []
    for account in OntraportAccount.objects.all():
        grant = strict.endpoint.grant(account.access_token.reveal().split(".")[1])
        assert account.access_token.reveal().split(".")[2] == str(grant.serial)
