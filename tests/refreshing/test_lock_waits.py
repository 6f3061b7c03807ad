"""How long a connection waits for a lock is limited while an answer is saved, and afterwards as it was before."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection, transaction

from ontraport_connect.database import short_lock_waits, to_the_end
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, one_account
from tests.refreshing.test_crashes import let_the_lease_end
from tests.refreshing.test_one_account import in_thread, rolled_back
from tests.refreshing.test_rollbacks import change
from tests.refreshing.test_takeover import ROW, locked, tokens
from tests.support.accounts import linked, token_of
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
