"""The answers of a batch that wait are saved together, each row under its own guard."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from ontraport_connect.encryption import Secret
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import Grant
from ontraport_connect.refreshing import batches, group_saves, leases, saving
from ontraport_connect.refreshing.outcomes import Outcome
from tests.support.accounts import linked, read, token_of

pytestmark = pytest.mark.django_db(transaction=True)


def answers(*names: str) -> list[tuple[leases.Lease, Mapping[str, Any]]]:
    """Claim an account for each name, and return their leases with the columns for the grants that came for them."""
    pks = [linked(name).pk for name in names]
    claimed = leases.claim(OntraportAccount.objects.all(), pks, is_probe=False)
    names_of = dict(zip(pks, names, strict=True))
    return [(lease, saving.columns_for(lease, new_grant(names_of[lease.account.pk]))) for lease in claimed]


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


@pytest.mark.postgresql
def test_a_text_that_is_no_json_and_a_grant_without_a_refresh_token_are_saved_as_they_are() -> None:
    (lease, columns), other = answers("one", "two")
    kept = {name: value for name, value in columns.items() if name != "refresh_token"}
    saved = group_saves.save([(lease, {**kept, "scope": "a\"b\\c 'd' %s ü"}), other])
    assert saved == {lease.account.pk, other[0].account.pk}
    account = OntraportAccount.objects.get(pk=lease.account.pk)
    assert (account.scope, token_of(account), account.refresh_token) == (
        "a\"b\\c 'd' %s ü",
        "a.one.1",
        Secret("r.one.0"),
    )
    assert account.expires_at == columns["expires_at"]


def test_one_answer_is_no_group() -> None:
    """A row that is locked is waited for once, not first in a group of one and then alone."""
    assert group_saves.save(answers("one")) == set()


@pytest.mark.sqlite
def test_other_databases_save_one_by_one() -> None:
    assert group_saves.save(answers("one", "two")) == set()


@pytest.mark.postgresql
def test_answers_that_cannot_be_saved_together_are_saved_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    waiting = answers("one", "two")
    batch = batches._Batch([], is_probe=False, seconds=60)
    for (lease, columns), name in zip(waiting, ["one", "two"], strict=True):
        ended: Future[Outcome | None] = Future()
        ended.set_result(new_grant(name))
        batch.started[ended] = lease
        batch.columns[lease.account.pk] = columns

    def fail_together(execute: Any, sql: str, *args: Any) -> Any:
        if "json_to_recordset" in sql:
            raise ValueError("a driver's fault")
        return execute(sql, *args)

    with connection.execute_wrapper(fail_together):
        batch.finish_all(list(batch.started))
    assert [token_of(account) for account in OntraportAccount.objects.order_by("pk")] == ["a.one.1", "a.two.1"]
    assert "saved one by one" in caplog.text
