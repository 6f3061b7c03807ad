"""How long a connection waits for a lock is limited while an answer is saved, and afterwards as it was before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from ontraport_connect import refreshing, tasks
from ontraport_connect.database import short_lock_waits, to_the_end, unless_locked
from ontraport_connect.models import (
    Now,
    OntraportAccount,
    OntraportRevocation,
    OntraportService,
    OntraportSpentToken,
    Status,
)
from ontraport_connect.refreshing import batches, heartbeat, one_account, recovery, unsaved
from tests.refreshing.test_crashes import let_the_lease_end
from tests.refreshing.test_one_account import in_thread, rolled_back
from tests.refreshing.test_rollbacks import change
from tests.refreshing.test_takeover import ROW, locked, tokens
from tests.support.accounts import linked, read, token_of
from tests.support.dialects import lock_table
from tests.support.servers import wait_until
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def lock_timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return str(cursor.fetchone()[0])


@pytest.mark.postgresql
def test_a_blocked_row_delays_no_other_after_an_account_of_the_batch_was_recovered(strict: StrictServer) -> None:
    recovered, blocked, other = linked("one"), linked("two"), linked("three")
    with rolled_back():
        recovered.label = "changed"
        recovered.save()
        one_account.refresh(recovered)
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch([recovered.pk, blocked.pk, other.pk])) as batch:
        strict.wait_for_held(2)
        with locked(ROW, blocked.pk):
            strict.release()
            assert batch.result(20) == {"recovered": 1, "refreshed": 2}
            assert tokens() == ["a.one.1", "a.two.0", "a.three.1"]
    let_the_lease_end()
    assert batches.refresh_batch([blocked.pk]) == {"recovered": 1}
    assert (tokens()[1], strict.requests, strict.dead) == ("a.two.1", 3, [])


def until_told(caplog: pytest.LogCaptureFixture, text: str) -> None:
    wait_until(lambda: text in caplog.text, text)


@pytest.mark.server_database
def test_what_can_be_saved_neither_in_its_row_nor_beside_it_is_tried_again(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    account = linked("one")
    strict.behave(hold="after")
    with in_thread(lambda: one_account.refresh(read(account))) as refreshed:
        strict.wait_for_held()
        with locked(lock_table(OntraportAccount, OntraportSpentToken)):
            strict.release()
            until_told(caplog, "can be saved nowhere now")
            time.sleep(3)  # and again in vain
        refreshed.result(20)
    let_the_lease_end()
    recovery.recover_all()
    assert (token_of(account), strict.requests) == ("a.one.1", 1)


@pytest.mark.server_database
def test_no_answer_of_a_batch_is_lost_while_rows_and_notes_are_locked(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = [linked("one"), linked("two"), linked("three")]
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch([account.pk for account in accounts])) as batch:
        strict.wait_for_held(3)
        with locked(lock_table(OntraportAccount, OntraportSpentToken)):
            strict.release()
            time.sleep(9)  # two waits for a lock an account, and one for all
        assert batch.result(20) == {"refreshed": 3}
    assert caplog.text.count("can be saved nowhere now") == 3
    let_the_lease_end()
    recovery.recover_all()
    assert (tokens(), strict.requests) == (["a.one.1", "a.two.1", "a.three.1"], 3)


@pytest.mark.server_database
def test_an_answer_that_can_be_saved_nowhere_delays_no_other_of_its_batch(strict: StrictServer) -> None:
    accounts = [linked("one"), linked("two"), linked("three")]
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch([account.pk for account in accounts])) as batch:
        strict.wait_for_held(3)
        with locked(lock_table(OntraportSpentToken)), locked(ROW, accounts[0].pk):
            strict.release()
            wait_until(lambda: tokens() == ["a.one.0", "a.two.1", "a.three.1"], "the others to be saved")
        assert batch.result(20) == {"refreshed": 3}
    assert tokens() == ["a.one.1", "a.two.1", "a.three.1"]


@pytest.mark.server_database
def test_an_answer_that_is_lost_is_an_error_and_no_refresh(
    strict: StrictServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsaved, "PATIENCE", 0)
    account = linked("one")
    strict.behave(hold="after")
    with in_thread(lambda: batches.refresh_batch([account.pk])) as batch:
        strict.wait_for_held()
        with locked(lock_table(OntraportAccount, OntraportSpentToken)):
            strict.release()
            assert batch.result(20) == {"unsaved": 1}
    assert "could be saved nowhere; they are lost" in caplog.text


@pytest.mark.postgresql
def test_the_limit_of_a_site_survives_a_refresh_within_its_transaction(strict: StrictServer) -> None:
    account = linked("one")
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '7s'")
    try:
        with transaction.atomic():
            change(account)
            one_account.refresh(account)
            assert lock_timeout() == "7s"
        assert lock_timeout() == "7s"
    finally:
        connection.close()
    assert (token_of(account), strict.requests) == ("a.one.1", 1)


@pytest.mark.postgresql
def test_a_block_within_a_block_keeps_the_limit_of_the_outer_one() -> None:
    with short_lock_waits():
        with short_lock_waits():
            assert lock_timeout() == "1s"
        assert lock_timeout() == "1s"
    assert lock_timeout() == "0"


@pytest.mark.postgresql
def test_what_a_receiver_of_a_signal_reads_in_chunks_is_read() -> None:
    account = linked("one")
    with short_lock_waits():
        assert list(OntraportAccount.objects.iterator(chunk_size=1)) == [account]
        with transaction.atomic():
            assert list(OntraportAccount.objects.iterator(chunk_size=1)) == [account]
            assert lock_timeout() == "1s"


def test_an_interruption_is_raised_although_the_database_fails_the_second_time() -> None:
    errors = iter([KeyboardInterrupt, OperationalError])

    def step() -> None:
        raise next(errors)

    with pytest.raises(KeyboardInterrupt):
        to_the_end(step)
    assert next(errors, None) is None


SITE = "SELECT 1 FROM ontraport_connect_ontraportservice WHERE id = 1 FOR UPDATE"
NOTES = "SELECT 1 FROM ontraport_connect_ontraportbudget FOR UPDATE"


def ends(work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns, which does not wait for a lock that somebody holds all the time."""
    with in_thread(work) as done:
        return done.result(20)


@pytest.fixture
def recorded(strict: StrictServer) -> None:
    """The site's row and the notes of heartbeat and tallies are there, as in any site that has run for a while."""
    tasks.refresh_accounts([linked("before", ontraport_id="1").pk])
    refreshing.record_beat()
    refreshing.record_command()
    heartbeat._write(heartbeat.QUEUE, at=0, late=0)
    OntraportService.objects.update(beat_at=None, worker_at=None)


@pytest.mark.server_database
@pytest.mark.parametrize("held", [SITE, NOTES])
@pytest.mark.usefixtures("recorded")
def test_rows_of_the_site_that_somebody_holds_keep_no_background_job_from_its_end(
    strict: StrictServer, held: str
) -> None:
    """A psql session without a commit hung each task after its work, until no process of the workers was left."""
    account = linked("one", ontraport_id="2")
    with locked(held):
        assert ends(lambda: tasks.refresh_accounts([account.pk])) == {"refreshed": 1}
        ends(lambda: refreshing.record_beat(0))
        ends(refreshing.record_command)
        ends(tasks.check_keys)
        ends(tasks.deliver_revocations)
    assert (token_of(account), strict.dead) == ("a.one.1", [])
    refreshing.record_beat()
    assert refreshing.signs().beat.is_alive


@pytest.mark.server_database
@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("error", ["invalid_grant", "unauthorized_client", "invalid_client"])
def test_nobody_is_blamed_for_what_cannot_be_counted(strict: StrictServer, error: str) -> None:
    account = linked("one")
    strict.behave("one", status=400, members={"error": error})
    with locked(SITE):
        ends(lambda: batches.refresh_batch([account.pk]))
    row = read(account)
    assert (row.status, row.failures, row.lease_until) == (Status.CONNECTED, 0, None)
    strict.behave("one")
    assert batches.refresh_batch([account.pk]) == {"refreshed": 1}


@pytest.mark.server_database
@pytest.mark.usefixtures("recorded")
def test_nobody_probes_while_somebody_holds_the_breaker(strict: StrictServer) -> None:
    account = linked("one")
    OntraportService.objects.update(hold_code="rate_limited", held_until=Now())
    with locked(SITE):
        assert ends(lambda: batches.refresh_batch([account.pk])) == {"rate_limited": 1}
    assert batches.refresh_batch([account.pk]) == {"refreshed": 1}


@pytest.mark.server_database
@pytest.mark.usefixtures("recorded")
def test_the_mark_of_the_installation_waits_for_nobody(strict: StrictServer) -> None:
    OntraportService.objects.update(installation="")
    with locked(SITE):
        assert ends(refreshing.is_own_database)


@pytest.mark.server_database
@pytest.mark.usefixtures("recorded")
def test_a_revocation_that_somebody_holds_is_passed_over(strict: StrictServer) -> None:
    for name in ("one", "two"):
        account = linked(name)
        refreshing.queue_revocation(account, account.refresh_token)
    held, _ = OntraportRevocation.objects.order_by("pk")
    OntraportAccount.objects.all()._raw_delete(using="default")  # else they may share a grant with one
    OntraportRevocation.objects.update(try_at=Now())
    with locked("SELECT 1 FROM ontraport_connect_ontraportrevocation WHERE id = %s FOR UPDATE", held.pk):
        ends(lambda: refreshing.deliver_revocations(10))
    assert list(OntraportRevocation.objects.values_list("pk", "sent_at")) == [(held.pk, None)]


@pytest.mark.postgresql
def test_what_is_passed_over_does_no_harm_to_the_transaction_it_is_in() -> None:
    account, other = linked("one"), linked("two")
    with locked(ROW, account.pk), transaction.atomic():
        OntraportAccount.objects.filter(pk=other.pk).update(label="before")
        assert unless_locked(lambda: OntraportAccount.objects.filter(pk=account.pk).update(label="held")) is None
        OntraportAccount.objects.filter(pk=other.pk).update(label="after")
    assert read(other).label == "after"
