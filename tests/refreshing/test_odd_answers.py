"""What Ontraport may answer, and what columns and JSON cannot hold: a grant that came is saved, and holds up no other."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, one_account, recovery
from tests.refreshing.test_one_account import rolled_back
from tests.refreshing.test_rollbacks import change
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

SCOPES: dict[str, Any] = {
    "a hundred thousand characters": "mcp:tools " + "x" * 100_000,
    "many": " ".join(f"scope:{number}" for number in range(10_000)),
    "nul": "mcp:tools\0 \0",
    "half of a pair": "mcp:tools \ud800",
    "a list": ["mcp:tools"],
    "a number": 7,
}
LIFETIMES: dict[str, Any] = {
    "none": None,
    "zero": 0,
    "negative": -1e308,
    "huge": 1e308,
    "ten to the hundredth": 10**100,
    "text": "1e308",
    "a list": [3600],
    "tiny": 5e-324,
}
ANSWERS = {f"scope: {name}": {"scope": value} for name, value in SCOPES.items()} | {
    f"lifetime: {name}": {"expires_in": value} for name, value in LIFETIMES.items()
}
ANSWERS |= {
    "tokens as long as they may be": {"access_token": "a" * 8192},
    "no token type": {"token_type": None},
    "a blank in the token type": {"token_type": "Bearer "},
    "an error that is none": {"error": None},
    "an error that is false": {"error": False},
}


@pytest.mark.parametrize("how", ["alone", "batch"])
def test_a_grant_with_odd_members_is_saved(strict: StrictServer, how: str) -> None:
    accounts = [linked(f"g{number}") for number in range(len(ANSWERS))]
    for number, members in enumerate(ANSWERS.values()):
        answer = {
            "access_token": f"a.g{number}.1",
            "refresh_token": f"r.g{number}.1",
            "token_type": "Bearer",
            **members,
        }
        strict.behave(f"g{number}", status=200, members=answer)
    if how == "batch":
        assert batches.refresh_batch([account.pk for account in accounts]) == {"refreshed": len(accounts)}
    else:
        for account in accounts:
            one_account.refresh(account)
    for number, account in enumerate(accounts):
        row = read(account)
        assert (row.version, row.lease_until, row.refresh_token.reveal()) == (1, None, f"r.g{number}.1")
        assert 0 <= (row.expires_at - row.refreshed_at).total_seconds() + 60 < 31 * 86_400
        assert row.scope == "mcp:tools"


LONG: dict[str, dict[str, Any]] = {
    "client id": {"ONTRAPORT_CLIENT_ID": "https://" + "x" * 600},
    "issuer": {"issuer": "https://" + "x" * 600},
    "issuer with half of a pair": {"issuer": "https://app.example/\udce9"},
    "issuer with a nul": {"issuer": "https://app.example/\0"},
}


@pytest.mark.parametrize("setting", LONG.values(), ids=LONG)
def test_a_client_or_issuer_that_no_column_holds_is_noticed_before_the_token_is_spent(
    strict: StrictServer, setting: dict[str, Any]
) -> None:
    accounts = [linked("one"), linked("two")]
    if "issuer" in setting:
        setting = {"ONTRAPORT_ENDPOINTS": {**strict.settings["ONTRAPORT_ENDPOINTS"], **setting}}
    with override_settings(**setting):
        with pytest.raises(OntraportMisconfigured, match=r"ONTRAPORT_(CLIENT_ID|ENDPOINTS)"):
            one_account.refresh(accounts[0])
        with suppress(OntraportMisconfigured):
            batches.refresh_batch([accounts[1].pk])
    assert strict.requests == 0
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()


def test_tokens_that_cannot_be_taken_over_hold_up_no_other(
    strict: StrictServer, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = [linked(f"g{number}") for number in range(3)]
    for account in accounts:
        with rolled_back():
            change(account)
            one_account.refresh(account)

    first = iter([True, True])

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "refreshed_at" in sql and next(first, False):
            raise ValueError("a driver's fault")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse):
        recovery.recover_all()
    assert sum(token_of(account).endswith(".1") for account in accounts) == 1
    assert not OntraportAccount.objects.exclude(lease_until=None).exists()
    assert "could not be taken over" in caplog.text
    recovery.recover_all()
    assert [token_of(account) for account in accounts] == ["a.g0.1", "a.g1.1", "a.g2.1"]
    assert strict.dead == []
