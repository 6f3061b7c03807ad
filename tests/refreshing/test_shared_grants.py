"""A grant is not revoked while a connected account may share it (RFC 7009, 2.1), nor sent to a server that did not issue it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import linking, refreshing
from ontraport_connect.encryption import Secret
from ontraport_connect.models import Method, OntraportAccount, OntraportRevocation, Status
from ontraport_connect.refreshing import revoking
from tests.refreshing.test_revoking import HEARD, away, make, make_due, queue, told
from tests.support.hostile_server import HostileServer, hostile_server

pytestmark = pytest.mark.django_db(transaction=True)

ISSUER = "https://issuer.example"


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


def endpoints_of(server: HostileServer, **values: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
        **values,
    }


@pytest.fixture
def ontraport(server: HostileServer) -> Iterator[HostileServer]:
    server.behaviour = HEARD
    server.requests.clear()
    with override_settings(
        ONTRAPORT_CLIENT_ID="id", ONTRAPORT_ENDPOINTS=endpoints_of(server), ONTRAPORT_TIMEOUT=(1, 1)
    ):
        yield server


@pytest.fixture
def maya() -> User:
    return get_user_model().objects.create_user("maya")


@pytest.fixture
def tomas() -> User:
    return get_user_model().objects.create_user("tomas")


@pytest.fixture
def people(maya: User, tomas: User) -> tuple[User, User]:
    return maya, tomas


def test_a_grant_that_is_in_no_row_is_not_revoked_either_where_it_is_shared(
    ontraport: HostileServer, maya: User, tomas: User
) -> None:
    make(tomas, ontraport_id="7")
    refreshing.revoke_grant(OntraportAccount(user=maya, ontraport_id="7"), Secret("new"))
    assert told(ontraport) == []


SHARED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("the same Ontraport account", {"ontraport_id": "7"}, {"ontraport_id": "7"}),
    ("the same one, for a tenant", {"ontraport_id": "7"}, {"ontraport_id": "7", "tenant": "north"}),
    ("no Ontraport account is known", {}, {"of": "maya"}),
    ("that of the deleted one is not known", {}, {"ontraport_id": "7", "of": "maya"}),
    ("that of the other one is not known", {"ontraport_id": "7"}, {"of": "maya"}),
    ("nothing known, for a tenant by the same person", {}, {"tenant": "north", "of": "maya"}),
    ("nothing known, for two tenants by the same person", {"tenant": "north"}, {"tenant": "south", "of": "maya"}),
    ("two of one tenant", {"tenant": "north"}, {"tenant": "north"}),
    ("the same client", {"ontraport_id": "7", "client_id": "other"}, {"ontraport_id": "7", "client_id": "other"}),
    ("the configured client, recorded", {"ontraport_id": "7", "client_id": "id"}, {"ontraport_id": "7"}),
    ("the configured issuer, recorded", {"ontraport_id": "7", "issuer": ISSUER}, {"ontraport_id": "7"}),
    ("another issuer", {"ontraport_id": "7", "issuer": "https://b"}, {"ontraport_id": "7", "issuer": "https://b"}),
]
SEPARATE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("another Ontraport account", {"ontraport_id": "7"}, {"ontraport_id": "8", "of": "maya"}),
    ("nothing known, another owner", {}, {}),
    ("nothing known, for a tenant by another person", {}, {"tenant": "north"}),
    ("nothing known, for two tenants by two persons", {"tenant": "north"}, {"tenant": "south"}),
    ("both known, for two tenants", {"ontraport_id": "7"}, {"ontraport_id": "8", "tenant": "south", "of": "maya"}),
    ("not connected", {"ontraport_id": "7"}, {"ontraport_id": "7", "status": Status.NEEDS_RECONNECT}),
    ("a key pair", {"ontraport_id": "7"}, {"ontraport_id": "7", "method": Method.API_KEY}),
    ("another client", {"ontraport_id": "7", "client_id": "old"}, {"ontraport_id": "7", "client_id": "id"}),
    ("another issuer", {"ontraport_id": "7", "issuer": ISSUER}, {"ontraport_id": "7", "issuer": "https://b"}),
]


@pytest.mark.parametrize(
    "case",
    [
        *(pytest.param((deleted, other, True), id=f"shared: {name}") for name, deleted, other in SHARED),
        *(pytest.param((deleted, other, False), id=f"separate: {name}") for name, deleted, other in SEPARATE),
    ],
)
def test_a_grant_is_revoked_unless_a_connected_account_may_share_it(
    ontraport: HostileServer,
    people: tuple[User, User],
    caplog: pytest.LogCaptureFixture,
    case: tuple[dict[str, Any], dict[str, Any], bool],
) -> None:
    caplog.set_level(logging.INFO, logger="ontraport_connect")
    (maya, tomas), (deleted, other, is_shared) = people, case
    account = make(maya, **deleted)
    other = {**other}
    make(maya if other.pop("of", "") == "maya" else tomas, refresh_token="in-use", **other)
    assert refreshing.is_grant_shared(account) == is_shared
    linking.unlink(account)
    assert told(ontraport) == ([] if is_shared else [account.refresh_token.reveal()])
    assert not OntraportRevocation.objects.exists()
    assert ("a connected account may share it" in caplog.text) == is_shared


def test_a_key_pair_shares_nothing(ontraport: HostileServer, maya: User) -> None:
    make(maya, ontraport_id="7")
    assert not refreshing.is_grant_shared(make(maya, ontraport_id="7", method=Method.API_KEY))


def test_a_revocation_without_an_owner_is_delivered(ontraport: HostileServer, maya: User) -> None:
    """Such a row was queued by an earlier version, or for an account whose user is gone."""
    make(maya)
    queued = queue(maya)
    OntraportRevocation.objects.update(owner="", person="", client_id="", issuer="")
    assert refreshing.owner_key(OntraportAccount()) == ""
    assert revoking.deliver_revocations(10) == 1
    assert told(ontraport) == [queued.refresh_token.reveal()]


def test_the_last_account_that_shares_a_grant_ends_it(ontraport: HostileServer, maya: User, tomas: User) -> None:
    first, last = make(maya, ontraport_id="7"), make(tomas, ontraport_id="7", refresh_token="last")
    linking.unlink(first)
    assert told(ontraport) == []
    linking.unlink(last)
    assert told(ontraport) == ["last"]


ENDED = {"status": Status.NEEDS_RECONNECT, "last_error": "invalid_grant", "client_id": "id"}


def test_an_account_that_may_be_brought_back_keeps_its_grant(ontraport: HostileServer, maya: User, tomas: User) -> None:
    """It was marked by a wrong deploy. Its sibling's revocation waits until that is known, or somebody removes it."""
    marked = make(tomas, ontraport_id="7", refresh_token="last", **ENDED)
    assert not linking.unlink(make(maya, ontraport_id="7"))
    make_due()
    assert revoking.deliver_revocations(10) == 0
    assert (told(ontraport), OntraportRevocation.objects.get().attempts) == ([], 0)
    make_due()
    assert refreshing.reconsider() == [marked.pk]
    assert revoking.deliver_revocations(10) == 0
    assert (told(ontraport), OntraportRevocation.objects.count()) == ([], 0)


def test_an_account_whose_grant_ended_long_ago_keeps_no_grant_alive(
    ontraport: HostileServer, maya: User, tomas: User
) -> None:
    long_ago = timezone.now() - timedelta(days=4)
    make(tomas, ontraport_id="7", linked_at=long_ago, expires_at=long_ago, **ENDED)
    assert linking.unlink(make(maya, ontraport_id="7"))


def test_accounts_that_are_deleted_together_are_all_revoked(ontraport: HostileServer, maya: User) -> None:
    for number in range(3):
        make(maya, refresh_token=f"token-{number}")
    maya.delete()
    assert revoking.deliver_revocations(10) == 3
    assert sorted(told(ontraport)) == ["token-0", "token-1", "token-2"]


def test_a_revocation_that_waited_is_dropped_once_the_person_has_connected_again(
    ontraport: HostileServer, maya: User
) -> None:
    away(ontraport)
    linking.unlink(make(maya, ontraport_id="7"))
    assert OntraportRevocation.objects.get().attempts == 1
    make(maya, ontraport_id="7", refresh_token="new")
    ontraport.behaviour = HEARD
    ontraport.requests.clear()
    make_due()
    assert revoking.deliver_revocations(10) == 0
    assert told(ontraport) == []
    assert not OntraportRevocation.objects.exists()


def test_a_grant_is_sent_to_the_server_that_issued_it_only(ontraport: HostileServer, maya: User) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints_of(ontraport, revocation_endpoint="http://127.0.0.1:1/")):
        linking.unlink(make(maya))
    make_due()
    with override_settings(
        ONTRAPORT_ENDPOINTS=endpoints_of(ontraport, issuer="https://b", token_endpoint="https://b/token")
    ):
        assert revoking.deliver_revocations(10) == 0
    assert (told(ontraport), OntraportRevocation.objects.get().attempts) == ([], 2)
    make_due()
    assert revoking.deliver_revocations(10) == 1
    assert len(told(ontraport)) == 1


def test_an_issuer_that_is_named_later_is_still_the_same_server(ontraport: HostileServer, maya: User) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints_of(ontraport, issuer=None)):
        queue(maya)
    assert OntraportRevocation.objects.get().issuer == ontraport.url
    assert revoking.deliver_revocations(10) == 1


@override_settings(ONTRAPORT_ENDPOINTS="guide")
def test_without_a_revocation_endpoint_nothing_is_sent_and_the_log_says_so(
    maya: User, caplog: pytest.LogCaptureFixture
) -> None:
    assert not refreshing.can_revoke()
    linking.unlink(make(maya))
    assert not OntraportRevocation.objects.exists()
    assert "ONTRAPORT_ENDPOINTS has no revocation endpoint" in caplog.text


def test_invalid_endpoints_keep_a_revocation(ontraport: HostileServer, maya: User) -> None:
    with override_settings(ONTRAPORT_ENDPOINTS="nowhere"):
        assert not refreshing.can_revoke()
        linking.unlink(make(maya))
    assert (told(ontraport), OntraportRevocation.objects.get().issuer) == ([], "")
    make_due()
    assert refreshing.can_revoke()
    assert revoking.deliver_revocations(10) == 1
