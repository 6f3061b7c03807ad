"""Another client id, other endpoints, a wrong deploy end nobody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from ontraport_connect.refreshing import (
    batches,
    circuit_breaker,
    client_settings,
    due_accounts,
    leases,
    one_account,
    outcomes,
    recovery,
    spending,
)
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def many(count: int) -> list[Any]:
    """Accounts that record the client and the issuer they were made with."""
    recorded: dict[str, Any] = {"client_id": "client", "issuer": client_settings.issuer()}
    return [linked(f"g{number}", **recorded) for number in range(count)]


def state_of(accounts: list[Any]) -> set[tuple[Any, ...]]:
    rows = [read(account) for account in accounts]
    return {(row.status, row.failures, row.last_error, row.lease_until) for row in rows}


def test_a_refresh_records_client_and_issuer_where_none_is_recorded(strict: StrictServer) -> None:
    account = linked("one")
    with override_settings(ONTRAPORT_CLIENT_ID="client"):
        one_account.refresh(account)
    assert (read(account).client_id, read(account).issuer) == ("client", client_settings.issuer())


@pytest.mark.parametrize("changed", ["client id", "endpoints"])
def test_with_another_client_id_or_other_endpoints_nothing_is_sent_and_no_row_is_touched(
    strict: StrictServer, changed: str
) -> None:
    elsewhere = {**strict.settings["ONTRAPORT_ENDPOINTS"], "token_endpoint": "https://other.example/token"}
    deployed = {"ONTRAPORT_CLIENT_ID": "another"} if changed == "client id" else {"ONTRAPORT_ENDPOINTS": elsewhere}
    with override_settings(ONTRAPORT_CLIENT_ID="client"):
        accounts = many(200)
    pks = [account.pk for account in accounts]
    with override_settings(ONTRAPORT_CLIENT_ID="client"), override_settings(**deployed):
        assert list(due_accounts.due_batches(1000)) == []
        assert batches.refresh_batch(pks) == {}
        with pytest.raises(OntraportMisconfigured) as raised:
            one_account.refresh(read(accounts[0]))
        assert raised.value.code == {"client id": "other_client", "endpoints": "other_issuer"}[changed]
        if changed == "client id":
            assert batches.refresh_batch([*pks, linked("new").pk]) == {"refreshed": 1}
        assert circuit_breaker.may_refresh()
    assert (strict.requests, state_of(accounts)) == (int(changed == "client id"), {(Status.CONNECTED, 0, "", None)})
    with override_settings(ONTRAPORT_CLIENT_ID="client"):
        assert batches.refresh_batch(pks) == {"refreshed": 200}
    assert strict.dead == []


def test_a_deploy_between_claim_and_call_gives_the_account_back_untouched(strict: StrictServer) -> None:
    with override_settings(ONTRAPORT_CLIENT_ID="client"):
        [account] = many(1)
        [lease] = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    with override_settings(ONTRAPORT_CLIENT_ID="another"), client_settings.new_transport() as transport:
        outcomes.settle(lease, spending.call(lease, transport))
    assert (strict.requests, state_of([account])) == (0, {(Status.CONNECTED, 0, "", None)})


def test_a_client_metadata_document_goes_on_after_the_site_has_been_registered(strict: StrictServer) -> None:
    account = linked("one", client_id="https://site.example/client.json", issuer=client_settings.issuer())
    with override_settings(ONTRAPORT_CLIENT_ID="registered"):
        assert batches.refresh_batch([account.pk]) == {"refreshed": 1}
    assert read(account).client_id == "https://site.example/client.json"


def test_links_that_were_marked_by_a_wrong_deploy_are_brought_back(strict: StrictServer) -> None:
    accounts = [linked(f"g{number}") for number in range(8)]
    really_ended = accounts[0]
    strict.behave(status=400, members={"error": "invalid_grant"})
    with override_settings(ONTRAPORT_REFRESH_CONCURRENCY=1):
        batches.refresh_batch([account.pk for account in accounts])
    assert OntraportAccount.objects.filter(status=Status.NEEDS_RECONNECT).count() == 4
    strict.behave()
    strict.behave("g0", status=400, members={"error": "invalid_grant"})
    pks = recovery.reconsider()
    assert len(pks) == 4
    assert batches.refresh_batch([account.pk for account in accounts]) == {"refreshed": 7, "invalid_grant": 1}
    assert read(really_ended).status == Status.NEEDS_RECONNECT
    assert [token_of(account) for account in accounts[1:]] == [f"a.g{number}.1" for number in range(1, 8)]
    recovered = OntraportEvent.objects.filter(kind=EventKind.RECOVERED)
    assert recovered.count() == 3


def test_reconsidering_leaves_alone_what_has_no_token_or_another_reason(strict: StrictServer) -> None:
    marked: dict[str, Any] = {"status": Status.NEEDS_RECONNECT, "refresh_at": None}
    linked("keyless", **marked, last_error="invalid_grant", refresh_token=None)
    linked("other", **marked, last_error="no_refresh_token")
    assert recovery.reconsider() == []


def test_a_server_that_gets_its_issuer_later_is_still_the_same(strict: StrictServer) -> None:
    [account] = many(1)
    named = {**strict.settings["ONTRAPORT_ENDPOINTS"], "issuer": "https://other.example"}
    with override_settings(ONTRAPORT_CLIENT_ID="client", ONTRAPORT_ENDPOINTS=named):
        assert batches.refresh_batch([account.pk]) == {"refreshed": 1}


UNFIT: dict[str, dict[str, Any]] = {
    "a margin from the environment": {"ONTRAPORT_REFRESH_MARGIN": "600"},
    "a margin that is no number": {"ONTRAPORT_REFRESH_MARGIN": float("nan")},
    "a text for a time": {"ONTRAPORT_IDLE_AFTER": "a month"},
    "a time that ends before the calendar begins": {"ONTRAPORT_IDLE_AFTER": timedelta(days=999_999_999)},
    "a short key": {"ONTRAPORT_ENCRYPTION_KEYS": ["short"]},
}


@pytest.mark.parametrize("setting", UNFIT.values(), ids=UNFIT)
def test_a_setting_that_would_keep_a_grant_from_being_saved_is_noticed_before_the_token_is_spent(
    strict: StrictServer, setting: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    accounts = [linked(f"g{number}") for number in range(3)]
    with override_settings(**setting):
        batches.refresh_batch([account.pk for account in accounts[1:]])
        with pytest.raises(OntraportMisconfigured):
            one_account.refresh(read(accounts[0]))
    assert (strict.requests, state_of(accounts)) == (0, {(Status.CONNECTED, 0, "", None)})
    assert "No account was touched" in caplog.text
    circuit_breaker.release()
    assert batches.refresh_batch([account.pk for account in accounts]) == {"refreshed": 3}
