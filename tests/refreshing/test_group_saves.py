"""The answers of a batch that wait are saved together, each row under its own guard."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from ontraport_connect.encryption import Secret
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import Grant
from ontraport_connect.refreshing import batches, group_saves, leases
from ontraport_connect.refreshing.outcomes import Outcome
from tests.support.accounts import linked, read, token_of

pytestmark = pytest.mark.django_db(transaction=True)


def answers(*names: str) -> list[tuple[leases.Lease, Grant]]:
    """Claim an account for each name, and return their leases with the grants that came for them."""
    pks = [linked(name).pk for name in names]
    claimed = leases.claim(OntraportAccount.objects.all(), pks, is_probe=False)
    names_of = dict(zip(pks, names, strict=True))
    return [(lease, new_grant(names_of[lease.account.pk])) for lease in claimed]


def new_grant(name: str) -> Grant:
    return Grant(access_token=Secret(f"a.{name}.1"), refresh_token=Secret(f"r.{name}.1"), lifetime=3600.0, scope=None)


@pytest.mark.postgresql
def test_a_row_whose_guard_fails_is_left_alone_and_the_others_of_its_group_are_saved() -> None:
    waiting = answers("one", "two", "three")
    relinked = next(lease for lease, _ in waiting if token_of(lease.account) == "a.two.0").account
    OntraportAccount.objects.filter(pk=relinked.pk).update(version=F("version") + 1)
    with CaptureQueriesContext(connection) as captured:
        saved = group_saves.save(waiting)
    assert saved == {lease.account.pk for lease, _ in waiting} - {relinked.pk}
    assert len([query for query in captured if query["sql"].startswith("UPDATE")]) == 1
    assert [token_of(account) for account in OntraportAccount.objects.order_by("pk")] == [
        "a.one.1",
        "a.two.0",
        "a.three.1",
    ]
    assert read(relinked).lease_until is not None


def test_one_answer_is_no_group() -> None:
    assert group_saves.save(answers("one")) == set()


@pytest.mark.postgresql
def test_answers_that_cannot_be_saved_together_are_saved_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    waiting = answers("one", "two")
    batch = batches._Batch([], is_probe=False, seconds=60)
    for lease, grant in waiting:
        ended: Future[Outcome | None] = Future()
        ended.set_result(grant)
        batch.started[ended] = lease

    def fail_together(execute: Any, sql: str, *args: Any) -> Any:
        if "unnest" in sql:
            raise ValueError("a driver's fault")
        return execute(sql, *args)

    with connection.execute_wrapper(fail_together):
        batch.finish_all(list(batch.started))
    assert [token_of(account) for account in OntraportAccount.objects.order_by("pk")] == ["a.one.1", "a.two.1"]
    assert "saved one by one" in caplog.text
