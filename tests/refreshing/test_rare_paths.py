"""What happens seldom: a row or a connection that is gone, notes in memory, two notes on one token."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models import F
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.database import short_lock_waits
from ontraport_connect.encryption import Secret
from ontraport_connect.models import OntraportAccount, OntraportSpentToken, Status
from ontraport_connect.refreshing import leases, outcomes, spent_tokens
from ontraport_connect.refreshing.spent_token_stores import SpentToken, Sqlite
from tests.support.accounts import linked, read, token_of, user_named
from tests.support.command import Run
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def note_on(account: OntraportAccount) -> SpentToken:
    now = timezone.now()
    return SpentToken(
        digest=spent_tokens.digest_of(account),
        account_uid=account.uid,
        owner="a-worker",
        sent_at=now,
        until=now + timedelta(seconds=60),
    )


def test_an_answer_that_was_noted_is_not_written_over_a_newer_row(strict: StrictServer) -> None:
    account = linked("one")
    row: Any = OntraportAccount._base_manager.values_list("access_token", "refresh_token").get(pk=account.pk)
    answer = note_on(account).answered(
        access_token=bytes(row[0]), refresh_token=bytes(row[1]), lifetime=3600.0, scope="mcp:tools"
    )
    rows = OntraportAccount.objects.filter(pk=account.pk)
    (lease,) = leases.claim(rows, [account.pk], is_probe=False)
    rows.update(version=F("version") + 1)
    current = outcomes.take_noted(lease, [answer])
    assert current is not None
    assert current.version == account.version + 1


def test_a_connection_that_was_closed_needs_no_limit_to_be_taken_back() -> None:
    with short_lock_waits():
        connection.close()
    assert OntraportAccount.objects.count() == 0


def test_a_secret_of_a_row_that_is_gone_cannot_be_saved(strict: StrictServer) -> None:
    account = linked("one")
    OntraportAccount.objects.filter(pk=account.pk).delete()
    account.app_id = Secret("2_1_a")
    with pytest.raises(DatabaseError):
        account.save(update_fields=["app_id"])


def test_a_token_is_noted_once(strict: StrictServer) -> None:
    account = linked("one")
    spent = note_on(account)
    assert (spent_tokens.begin(spent), spent_tokens.begin(spent)) == (True, False)
    assert spent_tokens.answers(account, spent) == [spent]
    spent_tokens.forget(spent.digest)
    assert spent_tokens.find(account) is None


def test_where_no_file_is_there_are_no_notes(tmp_path: Path) -> None:
    assert Sqlite(str(tmp_path / "site-ontraport"), is_in_memory=False).uids(answered=False) == []


def test_notes_in_memory_are_notes(strict: StrictServer) -> None:
    store = Sqlite("unused", is_in_memory=True)
    account = linked("one")
    spent = note_on(account)
    assert (store.add(spent), store.add(spent)) == (True, False)
    assert store.find(spent.digest) == spent
    assert store.uids(answered=False) == [account.uid]
    assert store._in_memory is not None
    store._in_memory.close()


def test_a_note_is_shown_without_its_secrets(strict: StrictServer) -> None:
    account = linked("one")
    row = OntraportSpentToken(account_uid=account.uid, sent_at=timezone.now())
    assert str(row).startswith(str(account.uid))


def test_endpoints_that_are_invalid_hide_no_account_that_shares_a_grant(strict: StrictServer) -> None:
    account, other = (
        linked("one", user=user_named(name), issuer="https://issuer.example", ontraport_id="7")
        for name in ("maya", "ben")
    )
    with override_settings(ONTRAPORT_ENDPOINTS="nonsense"):
        assert refreshing.is_grant_shared(account)
    OntraportAccount.objects.filter(pk=other.pk).update(issuer="https://other.example")
    with override_settings(ONTRAPORT_ENDPOINTS="nonsense"):
        assert not refreshing.is_grant_shared(account)


def test_the_command_reconsiders_accounts_that_a_wrong_deploy_has_marked(strict: StrictServer) -> None:
    account = linked("one")
    OntraportAccount.objects.update(status=Status.NEEDS_RECONNECT, last_error="invalid_grant", refresh_at=None)
    run = Run("refresh", "--reconsider")
    assert (run.status, token_of(account), read(account).status) == (0, "a.one.1", Status.CONNECTED)
    assert "1 account reconsidered: 1 refreshed" in run.text
