"""A grant that this site no longer uses is revoked at Ontraport, with retries, whatever removed the account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import linking, tasks
from ontraport_connect.encryption import Sealed
from ontraport_connect.exceptions import OntraportRejected, ReconnectRequired
from ontraport_connect.models import Method, OntraportAccount, OntraportEvent, OntraportRevocation
from ontraport_connect.refreshing import one_account, revoking
from ontraport_connect.refreshing.new_grants import is_on_its_way
from ontraport_connect.signals import account_disconnected
from tests.refreshing.test_takeover import locked
from tests.support.hostile_server import HostileServer, KeepAlive, answer, hostile_server, reset

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "canary-refresh-4f9a1c77d2"
HEARD = KeepAlive(answer(""))


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def ontraport(server: HostileServer) -> Iterator[HostileServer]:
    server.behaviour = HEARD
    server.requests.clear()
    endpoints = {
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
    }
    with override_settings(ONTRAPORT_CLIENT_ID="id", ONTRAPORT_ENDPOINTS=endpoints, ONTRAPORT_TIMEOUT=(1, 1)):
        yield server


@pytest.fixture
def maya() -> User:
    return get_user_model().objects.create_user("maya")


@pytest.fixture
def account(ontraport: HostileServer, maya: User) -> OntraportAccount:
    return make(maya)


def make(user: User, **values: Any) -> OntraportAccount:
    return OntraportAccount.objects.create(user=user, access_token="access", **{"refresh_token": TOKEN, **values})


def queue(user: User, **values: Any) -> OntraportRevocation:
    """Queue the grant of an account that is gone."""
    account = make(user, **values)
    queued = revoking.queue_revocation(account, account.refresh_token)
    OntraportAccount.objects.filter(pk=account.pk)._raw_delete(using="default")
    return queued


def told(server: HostileServer) -> list[str]:
    return [dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))["token"] for request in server.requests]


def away(server: HostileServer) -> None:
    server.behaviour = reset(b"")


def make_due() -> None:
    """Let the time pass until the next attempt, and that for which an answer is waited for."""
    OntraportRevocation.objects.update(try_at=timezone.now() - timedelta(seconds=1))
    OntraportRevocation.objects.exclude(sent_at=None).update(sent_at=timezone.now() - timedelta(hours=1))


def test_a_disconnected_account_is_unusable_at_once_and_revoked_at_ontraport(
    account: OntraportAccount, ontraport: HostileServer
) -> None:
    linking.unlink(account)
    assert told(ontraport) == [TOKEN]
    assert not OntraportRevocation.objects.exists()
    with pytest.raises(ReconnectRequired):
        one_account.refresh(account)


def test_when_ontraport_is_away_the_grant_is_kept_encrypted_and_told_later(
    account: OntraportAccount, ontraport: HostileServer
) -> None:
    away(ontraport)
    linking.unlink(account)
    kept = OntraportRevocation.objects.get()
    assert (kept.attempts, kept.account_uid) == (1, account.uid)
    assert kept.try_at > timezone.now()
    assert TOKEN not in str(kept) + repr(vars(kept))
    with connection.cursor() as cursor:
        cursor.execute("SELECT refresh_token FROM ontraport_connect_ontraportrevocation")
        assert TOKEN.encode() not in bytes(cursor.fetchone()[0])
    ontraport.behaviour = HEARD
    assert revoking.deliver_revocations(10) == 0
    make_due()
    ontraport.requests.clear()
    assert tasks.deliver_revocations() == 1
    assert told(ontraport) == [TOKEN]
    assert not OntraportRevocation.objects.exists()


def test_it_is_tried_for_a_week_ever_more_seldom_and_then_forgotten(
    account: OntraportAccount, ontraport: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    away(ontraport)
    linking.unlink(account)
    longest = 0.0
    for _ in range(30):
        make_due()
        revoking.deliver_revocations(10)
        kept = OntraportRevocation.objects.get()
        longest = max(longest, (kept.try_at - timezone.now()).total_seconds())
    assert 60 < longest <= revoking.LONGEST_PAUSE
    OntraportRevocation.objects.update(created_at=timezone.now() - revoking.KEEP_TRYING - timedelta(seconds=1))
    make_due()
    revoking.deliver_revocations(10)
    assert not OntraportRevocation.objects.exists()
    assert "Gave up revoking" in caplog.text
    assert TOKEN not in caplog.text


def test_a_pause_that_ontraport_asks_for_is_kept(account: OntraportAccount, ontraport: HostileServer) -> None:
    ontraport.behaviour = KeepAlive(answer("", status="429 X", headers="Retry-After: 1800\r\n"))
    linking.unlink(account)
    assert (OntraportRevocation.objects.get().try_at - timezone.now()).total_seconds() > 1700


@pytest.mark.parametrize(
    ("failure", "is_waited_for"),
    [
        (reset(b""), True),
        (KeepAlive(answer("", status="504 X")), True),
        (KeepAlive(answer("", status="503 X")), False),
        (KeepAlive(answer("", status="429 X")), False),
    ],
)
def test_what_may_have_reached_ontraport_may_be_carried_out_later(
    account: OntraportAccount, ontraport: HostileServer, failure: Any, is_waited_for: bool
) -> None:
    ontraport.behaviour = failure
    linking.unlink(account)
    assert OntraportRevocation.objects.filter(is_on_its_way()).exists() == is_waited_for


def test_no_more_than_asked_for_are_delivered_oldest_first(ontraport: HostileServer, maya: User) -> None:
    for number in range(4):
        queued = queue(maya, refresh_token=f"token-{number}")
        OntraportRevocation.objects.filter(pk=queued.pk).update(try_at=timezone.now() - timedelta(hours=4 - number))
    assert revoking.deliver_revocations(3) == 3
    assert told(ontraport) == ["token-0", "token-1", "token-2"]


def test_a_deleted_users_grants_are_revoked(account: OntraportAccount, ontraport: HostileServer, maya: User) -> None:
    make(maya, refresh_token="second")
    tenants = make(maya, refresh_token="third", tenant="north")
    maya.delete()
    assert OntraportAccount.objects.get() == tenants
    assert OntraportAccount.objects.get().user is None
    assert revoking.deliver_revocations(10) == 2
    assert sorted(told(ontraport)) == [TOKEN, "second"]


def test_a_deactivated_users_account_is_neither_refreshed_nor_usable_and_comes_back_with_the_person(
    account: OntraportAccount, ontraport: HostileServer, maya: User
) -> None:
    User.objects.update(is_active=False)
    found = OntraportAccount.objects.get()
    assert not OntraportAccount.objects.usable().exists()
    with pytest.raises(OntraportRejected):
        one_account.refresh(found)
    assert ontraport.requests == []
    User.objects.update(is_active=True)
    assert OntraportAccount.objects.usable().get() == found


def test_accounts_deleted_in_bulk_are_revoked(account: OntraportAccount, ontraport: HostileServer, maya: User) -> None:
    make(maya, refresh_token="second")
    OntraportAccount.objects.all().delete()
    assert revoking.deliver_revocations(10) == 2
    assert sorted(told(ontraport)) == [TOKEN, "second"]
    assert [event.kind for event in OntraportEvent.objects.all()] == ["disconnected"] * 2


def test_what_the_row_holds_now_is_revoked_and_not_what_was_read_before(
    account: OntraportAccount, ontraport: HostileServer
) -> None:
    current = OntraportAccount.objects.get()
    current.refresh_token = "newer"
    current.save()
    linking.unlink(account)
    assert told(ontraport) == ["newer"]


def test_without_a_refresh_token_the_access_token_is_revoked(ontraport: HostileServer, maya: User) -> None:
    linking.unlink(make(maya, refresh_token=None))
    assert told(ontraport) == ["access"]


def test_a_key_pair_has_nothing_to_revoke(ontraport: HostileServer, maya: User) -> None:
    linking.unlink(make(maya, refresh_token=None, method=Method.API_KEY))
    assert ontraport.requests == []
    assert not OntraportRevocation.objects.exists()


def test_a_link_without_any_token_can_be_let_go(ontraport: HostileServer, maya: User) -> None:
    linking.unlink(OntraportAccount.objects.create(user=maya))
    assert not OntraportAccount.objects.exists()


def test_an_account_that_cannot_be_decrypted_can_be_let_go(account: OntraportAccount, ontraport: HostileServer) -> None:
    OntraportAccount.objects.update(refresh_token=Sealed(b"\1altered"))
    linking.unlink(account)
    assert not OntraportAccount.objects.exists()
    assert ontraport.requests == []
    assert OntraportEvent.objects.get().detail == "secret_unreadable"


def test_a_revocation_whose_key_is_gone_waits_for_the_key(account: OntraportAccount, ontraport: HostileServer) -> None:
    away(ontraport)
    linking.unlink(account)
    ontraport.behaviour = HEARD
    make_due()
    ontraport.requests.clear()
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=["another key of more than 32 characters"]):
        assert revoking.deliver_revocations(10) == 0
    make_due()
    assert revoking.deliver_revocations(10) == 1
    assert told(ontraport) == [TOKEN]


def test_a_disconnect_that_is_rolled_back_never_happened(account: OntraportAccount, ontraport: HostileServer) -> None:
    heard = []

    def listen(account: OntraportAccount, **kwargs: Any) -> None:
        heard.append(account.uid)

    account_disconnected.connect(listen)
    try:
        with transaction.atomic():
            linking.unlink(OntraportAccount.objects.get())
            transaction.set_rollback(True)
        assert (heard, ontraport.requests) == ([], [])
        assert OntraportAccount.objects.get().refresh_token.reveal() == TOKEN
        linking.unlink(OntraportAccount.objects.get())
        assert heard == [account.uid]
    finally:
        account_disconnected.disconnect(listen)


def test_of_two_who_deliver_the_same_one_the_second_has_nothing_to_do(ontraport: HostileServer, maya: User) -> None:
    queued = queue(maya)
    assert revoking.deliver_revocation(queued)
    assert revoking.deliver_revocation(queued)
    assert told(ontraport) == [TOKEN]


def test_a_run_leaves_the_rest_to_the_next_when_its_time_is_up(ontraport: HostileServer, maya: User) -> None:
    queue(maya)
    assert revoking.deliver_revocations(10, seconds=0) == 0
    assert ontraport.requests == []
    assert OntraportRevocation.objects.count() == 1


@pytest.mark.server_database
def test_a_revocation_whose_row_is_held_is_delivered_in_the_next_run(ontraport: HostileServer, maya: User) -> None:
    held, _other = queue(maya), queue(maya)
    with locked("SELECT 1 FROM ontraport_connect_ontraportrevocation WHERE id = %s FOR UPDATE", held.pk):
        assert revoking.deliver_revocations(10) == 1
    assert list(OntraportRevocation.objects.all()) == [held]
    assert revoking.deliver_revocations(10) == 1
