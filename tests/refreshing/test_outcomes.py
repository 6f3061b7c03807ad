"""Each response of Ontraport has one consequence for the row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, InternalError, OperationalError, connection
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import EventKind, Now, OntraportAccount, OntraportEvent, OntraportRevocation, Status
from ontraport_connect.protocol import Grant
from ontraport_connect.refreshing import circuit_breaker, leases, one_account, outcomes
from ontraport_connect.refreshing.leases import Lease
from ontraport_connect.signals import account_needs_reconnect, account_recovered, account_refreshed
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def granted(name: str, **values: Any) -> Grant:
    return Grant(
        **{
            "access_token": Secret(f"a.{name}"),
            "refresh_token": Secret(f"r.{name}"),
            "lifetime": 3600.0,
            "scope": None,
            **values,
        }
    )


def leased(account: OntraportAccount, **values: Any) -> Lease:
    [lease] = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False, **values)
    return lease


def row_of(account: OntraportAccount) -> Any:
    return OntraportAccount.objects.annotate(now=Now()).get(pk=account.pk)


def kinds() -> list[str]:
    return list(OntraportEvent.objects.order_by("pk").values_list("kind", flat=True))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    answer: dict[str, Any]
    error: type[OntraportError]
    status: Status = Status.CONNECTED
    failures: int = 0
    held: str = ""
    noted: str | None = None


def answer(status: int, error: str = "", **headers: str) -> dict[str, Any]:
    members = {"error": error} if error else {"nonsense": True}
    return {"status": status, "members": members, "headers": {k.replace("_", "-"): v for k, v in headers.items()}}


VERDICTS = [
    Verdict(answer=answer(400, "invalid_grant"), error=ReconnectRequired, status=Status.NEEDS_RECONNECT),
    Verdict(answer=answer(401, "invalid_grant"), error=ReconnectRequired, status=Status.NEEDS_RECONNECT),
    Verdict(answer=answer(401, "invalid_client"), error=OntraportMisconfigured, held="invalid_client"),
    Verdict(answer=answer(400, "unauthorized_client"), error=OntraportMisconfigured, held="unauthorized_client"),
    Verdict(answer=answer(429, Retry_After="7"), error=OntraportUnavailable, failures=1, held="rate_limited"),
    Verdict(answer=answer(429), error=OntraportUnavailable, failures=1, held="rate_limited"),
    Verdict(answer=answer(400, "invalid_target"), error=OntraportUnavailable, failures=1, noted="invalid_target"),
    Verdict(answer=answer(400, "canary\x1b[31m"), error=OntraportUnavailable, failures=1, noted="http_400"),
    Verdict(answer=answer(403, "invalid_grant"), error=OntraportUnavailable, failures=1),
    Verdict(answer=answer(500), error=OntraportUnavailable, failures=1),
    Verdict(answer=answer(503, Retry_After="9"), error=OntraportUnavailable, failures=1),
    Verdict(answer=answer(200), error=OntraportUnavailable, failures=1),
    Verdict(answer=answer(302, Location="http://127.0.0.1:1/"), error=OntraportUnavailable, failures=1),
]


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: str(verdict.answer))
def test_a_verdict_for_each_answer(strict: StrictServer, verdict: Verdict) -> None:
    strict.behave(**verdict.answer)
    account = linked("one")
    with pytest.raises(verdict.error):
        one_account.refresh(account)
    row = read(account)
    assert (row.status, row.failures, row.lease_until) == (verdict.status, verdict.failures, None)
    assert circuit_breaker.site_standing().hold_code == verdict.held
    assert (row.refresh_token.reveal(), strict.dead) == ("r.one.0", [])
    assert verdict.noted in {None, row.last_error}


@pytest.mark.parametrize("fault", [{"cut": True}, {"drip": True}], ids=str)
def test_an_answer_that_is_lost_or_takes_too_long_keeps_the_token(strict: StrictServer, fault: dict[str, Any]) -> None:
    strict.behave(**fault)
    account = linked("one")
    with override_settings(ONTRAPORT_TIMEOUT=(0.5, 0.5)), pytest.raises(OntraportUnavailable):
        one_account.refresh(account)
    assert (read(account).failures, read(account).status) == (1, Status.CONNECTED)


def test_a_thousand_failures_in_a_row_lose_no_account_and_make_one_line_of_history(strict: StrictServer) -> None:
    account = linked("one", failures=999)
    strict.behave(status=500)
    with pytest.raises(OntraportUnavailable):
        one_account.refresh(account)
    row = row_of(account)
    assert (row.status, row.failures, row.last_error) == (Status.CONNECTED, 1000, "http_500")
    assert 0 < (row.refresh_at - row.now).total_seconds() <= outcomes.LONGEST_BACKOFF
    assert kinds() == []
    strict.behave()
    one_account.refresh(row)
    assert (token_of(account), read(account).failures, read(account).last_error) == ("a.one.1", 0, "")


@pytest.mark.parametrize(("status", "is_heeded"), [(503, False), (500, False), (429, True)])
def test_a_maintenance_page_that_asks_for_an_hour_puts_nobody_off_for_longer_than_any_failure(
    strict: StrictServer, status: int, is_heeded: bool
) -> None:
    """Many a server says so for a deploy that takes a minute; the access token has ended by then. A 429 asks for this very pause."""
    strict.behave(status=status, headers={"Retry-After": "3600"})
    account = linked("one")
    with pytest.raises(OntraportUnavailable):
        one_account.refresh(account)
    row = row_of(account)
    assert ((row.refresh_at - row.now).total_seconds() > outcomes.LONGEST_BACKOFF) == is_heeded


def test_failing_and_recovering_stand_in_the_history_and_are_told(strict: StrictServer) -> None:
    told: list[str] = []

    def recovered(account: OntraportAccount, **kwargs: Any) -> None:
        told.append(account.access_token.reveal())

    def refreshed(account: OntraportAccount, **kwargs: Any) -> None:
        raise ValueError("a receiver that raises breaks nothing")

    account_recovered.connect(recovered)
    account_refreshed.connect(refreshed)
    account = linked("one")
    try:
        strict.behave(status=500)
        with pytest.raises(OntraportUnavailable):
            one_account.refresh(account)
        strict.behave()
        one_account.refresh(account)
    finally:
        account_recovered.disconnect(recovered)
        account_refreshed.disconnect(refreshed)
    assert kinds() == [EventKind.REFRESH_FAILING, EventKind.RECOVERED]
    assert told == ["a.one.1"]


def test_a_listener_hears_of_a_batch_too(strict: StrictServer) -> None:
    heard: list[int] = []

    def refreshed(account: OntraportAccount, **kwargs: Any) -> None:
        heard.append(account.version)

    account_refreshed.connect(refreshed)
    try:
        assert outcomes.settle(leased(linked("one")), granted("one.1"), read=False) is not None
    finally:
        account_refreshed.disconnect(refreshed)
    assert heard == [1]


def test_who_needs_to_reconnect_is_told_once(strict: StrictServer) -> None:
    told: list[str] = []

    def needs_reconnect(account: OntraportAccount, **kwargs: Any) -> None:
        told.append(account.status)

    strict.behave(status=400, members={"error": "invalid_grant"})
    account_needs_reconnect.connect(needs_reconnect)
    account = linked("one")
    try:
        for _ in range(2):
            with pytest.raises(OntraportError):
                one_account.refresh(account)
    finally:
        account_needs_reconnect.disconnect(needs_reconnect)
    assert (told, kinds()) == ([Status.NEEDS_RECONNECT], [EventKind.NEEDS_RECONNECT])


def test_an_answer_without_a_refresh_token_keeps_the_old_one(strict: StrictServer) -> None:
    account = linked("one")
    outcomes.settle(leased(account), granted("one.1", refresh_token=None))
    assert (token_of(account), read(account).refresh_token.reveal()) == ("a.one.1", "r.one.0")


def test_a_narrower_scope_is_believed_and_a_wider_one_is_not(strict: StrictServer) -> None:
    account = linked("one", scope="a b")
    outcomes.settle(leased(account), granted("one.1", scope=frozenset({"b", "admin"})))
    assert read(account).scope == "b"


@pytest.mark.parametrize("scope", [frozenset(), frozenset({"A", "B"}), None])
def test_a_scope_that_has_nothing_to_do_with_the_rows_leaves_that_as_it_is(
    strict: StrictServer, scope: frozenset[str] | None
) -> None:
    """It would stay empty for ever: what a later answer names would be wider."""
    account = linked("one", scope="a b")
    outcomes.settle(leased(account), granted("one.1", scope=scope))
    assert read(account).scope == "a b"


def test_due_times_are_spread(strict: StrictServer) -> None:
    delays = set()
    for number in range(20):
        row: Any = outcomes.settle(leased(linked(f"n{number}")), granted("x"))
        delays.add(round((row.refresh_at - row.refreshed_at).total_seconds()))
    assert max(delays) - min(delays) > 30
    assert min(delays) >= 0.9 * 3000 - 1


def test_a_token_that_came_late_counts_from_when_it_was_asked_for(strict: StrictServer) -> None:
    lease = leased(linked("one"))
    asked_before = replace(lease, claimed_at=lease.claimed_at - 600)
    row: Any = outcomes.settle(asked_before, granted("one.1"))
    assert (row.expires_at - row.refreshed_at).total_seconds() <= 3000


def test_a_save_whose_confirmation_was_lost_is_not_taken_for_a_lost_guard(strict: StrictServer) -> None:
    account = linked("one")
    lease = leased(account)
    for _ in range(2):
        outcomes.settle(lease, granted("one.1"))
    assert (token_of(account), read(account).version) == ("a.one.1", 1)
    assert not OntraportRevocation.objects.exists()


def test_a_save_after_the_end_of_the_lease_stays_and_who_took_over_ends_nothing(strict: StrictServer) -> None:
    account = linked("one")
    slow = leased(account)
    OntraportAccount.objects.update(lease_until=timezone.now() - timedelta(seconds=5))
    second = leased(account)
    outcomes.settle(slow, granted("one.1"))
    outcomes.settle(second, OntraportUnavailable("late", code=outcomes.LATE))
    current = outcomes.settle(second, granted("one.1-too"))
    assert current is not None
    assert current.access_token.reveal() == "a.one.1"
    assert strict.dead == []
    assert not OntraportRevocation.objects.exists()


def test_a_lease_that_was_taken_over_is_not_given_back_by_its_first_owner(strict: StrictServer) -> None:
    account = linked("one")
    slow = leased(account)
    OntraportAccount.objects.update(lease_until=timezone.now() - timedelta(seconds=5))
    leased(account)
    outcomes.settle(slow, OntraportUnavailable("Ontraport did not answer in time.", code="timeout"))
    row = row_of(account)
    assert row.lease_until > row.now
    assert row.failures == 0


def test_a_grant_without_refresh_token_that_comes_too_late_leaves_nothing_to_revoke(strict: StrictServer) -> None:
    account = linked("one")
    lease = leased(account)
    OntraportAccount.objects.filter(pk=account.pk).delete()
    OntraportRevocation.objects.all().delete()
    assert outcomes.settle(lease, granted("one.1", refresh_token=None)) is None
    assert not OntraportRevocation.objects.exists()


def test_in_a_batch_what_came_for_a_disconnected_account_is_left_to_the_beat_task_to_revoke(
    strict: StrictServer,
) -> None:
    account = linked("one")
    lease = leased(account)
    account.delete()
    OntraportRevocation.objects.all().delete()
    outcomes.settle(lease, granted("one.1"), read=False)
    assert [row.refresh_token.reveal() for row in OntraportRevocation.objects.all()] == ["r.one.1"]
    assert strict.dead == []


@pytest.mark.parametrize("error", [OperationalError, InternalError])
def test_a_save_is_tried_again_while_the_database_is_away(strict: StrictServer, error: type[Exception]) -> None:
    account = linked("one")
    lease = leased(account)
    failures = iter(range(3))

    def fail_thrice(execute: Any, *args: Any) -> Any:
        if next(failures, None) is not None:
            raise error("the database system is starting up")
        return execute(*args)

    with connection.execute_wrapper(fail_thrice):
        outcomes.settle(lease, granted("one.1"))
    assert token_of(account) == "a.one.1"


def test_a_history_that_cannot_be_written_does_not_undo_what_was_saved(strict: StrictServer) -> None:
    account = linked("one", failures=1)

    def refuse_history(execute: Any, sql: str, *args: Any) -> Any:
        if "ontraportevent" in sql.lower() and sql.startswith("INSERT"):
            raise IntegrityError("its user is gone")
        return execute(sql, *args)

    lease = leased(account)
    with connection.execute_wrapper(refuse_history):
        assert outcomes.settle(lease, granted("one.1")) is not None
    assert (token_of(account), kinds()) == ("a.one.1", [])


def test_marked_and_gone_in_the_same_moment_nobody_is_told(strict: StrictServer) -> None:
    account = linked("one")
    lease = leased(account)

    def delete_after_marking(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if sql.startswith("UPDATE") and "status" in sql.split("WHERE", maxsplit=1)[0]:
            OntraportAccount.objects.all()._raw_delete(using="default")
        return result

    with connection.execute_wrapper(delete_after_marking):
        assert outcomes.settle(lease, ReconnectRequired("gone", code="invalid_grant")) is None
