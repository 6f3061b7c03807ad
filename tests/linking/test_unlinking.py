"""All accounts of a tenant are disconnected when the tenant is deleted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models.signals import post_delete, pre_delete
from django.test import override_settings

from ontraport_connect import linking, tasks
from ontraport_connect.linking import unlinking
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, OntraportRevocation
from ontraport_connect.signals import account_disconnected
from tests.support.hostile_server import HostileServer, KeepAlive, answer, hostile_server, reset

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ontraport() -> Iterator[HostileServer]:
    with hostile_server() as server:
        server.behaviour = KeepAlive(answer(""))
        endpoints = {
            "authorization_endpoint": f"{server.url}/authorize",
            "token_endpoint": f"{server.url}/token",
            "revocation_endpoint": f"{server.url}/revoke",
        }
        with override_settings(ONTRAPORT_CLIENT_ID="id", ONTRAPORT_ENDPOINTS=endpoints, ONTRAPORT_TIMEOUT=(1, 1)):
            yield server


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya")


def linked(user: Any, tenant: str, number: int, **values: Any) -> OntraportAccount:
    defaults = {"access_token": "access", "refresh_token": f"refresh-{tenant}-{number}", "ontraport_id": str(number)}
    account: OntraportAccount = OntraportAccount.objects.create(user=user, tenant=tenant, **{**defaults, **values})
    return account


def told(server: HostileServer) -> list[str]:
    return [dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))["token"] for request in server.requests]


def left() -> list[tuple[str, str]]:
    return list(OntraportAccount.objects.order_by("pk").values_list("tenant", "ontraport_id"))


def test_accounts_of_the_tenant_go_and_all_others_stay(maya: Any, ontraport: HostileServer) -> None:
    for number in (1, 2):
        linked(maya, "acme", number)
    linked(maya, "acme", 3, method=Method.API_KEY, refresh_token=None)
    for number, tenant in enumerate(("Acme", "acme-2", ""), start=4):
        linked(maya, tenant, number)
    assert linking.unlink_tenant("acme") == 3
    assert left() == [("Acme", "4"), ("acme-2", "5"), ("", "6")]
    assert told(ontraport) == ["refresh-acme-1", "refresh-acme-2"]
    assert not OntraportRevocation.objects.exists()
    events = OntraportEvent.objects.filter(kind=EventKind.DISCONNECTED)
    assert sorted(events.values_list("ontraport_id", flat=True)) == ["1", "2", "3"]
    assert linking.unlink_tenant("acme") == 0


@pytest.mark.parametrize("tenant", ["", None])
def test_personal_accounts_are_no_tenants(maya: Any, tenant: Any) -> None:
    linked(maya, "", 1)
    with pytest.raises(ValueError, match="tenant"):
        linking.unlink_tenant(tenant)
    assert left() == [("", "1")]


def test_when_ontraport_is_away_the_rest_is_queued(maya: Any, ontraport: HostileServer) -> None:
    for number in (1, 2, 3):
        linked(maya, "acme", number)
    healthy, ontraport.behaviour = ontraport.behaviour, reset(b"")
    assert linking.unlink_tenant("acme") == 3
    assert len(ontraport.requests) <= 2, "one grant is tried, and no other after it failed"
    assert OntraportRevocation.objects.count() == 3
    ontraport.behaviour = healthy
    ontraport.requests.clear()
    assert tasks.deliver_revocations() == 2
    assert len(told(ontraport)) == 2


def test_grants_that_take_long_are_left_to_the_beat_task(
    maya: Any, ontraport: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        linked(maya, "acme", number)
    monkeypatch.setattr(unlinking, "REVOKE_SECONDS", -1.0)
    assert linking.unlink_tenant("acme") == 2
    assert told(ontraport) == []
    assert tasks.deliver_revocations() == 2


def test_a_failing_account_stops_no_other(
    maya: Any, ontraport: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    _, second, _ = (linked(maya, "acme", number) for number in (1, 2, 3))

    def protect(instance: OntraportAccount, **kwargs: Any) -> None:
        if instance.pk == second.pk:
            raise RuntimeError("kept by the site")

    pre_delete.connect(protect, sender=OntraportAccount)
    try:
        with transaction.atomic():
            assert linking.unlink_tenant("acme") == 2
            assert left() == [("acme", "2")]
    finally:
        pre_delete.disconnect(protect, sender=OntraportAccount)
    assert left() == [("acme", "2")]
    assert told(ontraport) == ["refresh-acme-1", "refresh-acme-3"]
    assert [str(second.uid) in message for message in caplog.messages if "not disconnected" in message] == [True]
    assert OntraportEvent.objects.filter(kind=EventKind.DISCONNECTED).count() == 2


def test_in_a_transaction_that_is_rolled_back_nothing_happened(maya: Any, ontraport: HostileServer) -> None:
    heard = []

    def listen(account: OntraportAccount, **kwargs: Any) -> None:
        heard.append(account.uid)

    linked(maya, "acme", 1)
    account_disconnected.connect(listen)
    try:
        with transaction.atomic():
            assert linking.unlink_tenant("acme") == 1
            assert ontraport.requests == []
            transaction.set_rollback(True)
    finally:
        account_disconnected.disconnect(listen)
    assert (left(), heard, ontraport.requests) == ([("acme", "1")], [], [])
    assert not OntraportEvent.objects.filter(kind=EventKind.DISCONNECTED).exists()
    assert not OntraportRevocation.objects.exists()


@pytest.mark.parametrize("signal", [pre_delete, post_delete])
def test_a_handler_of_the_deletion_of_a_tenant(maya: Any, ontraport: HostileServer, signal: Any) -> None:
    """As in docs/using.md: the tenant's primary key is still set in both signals."""

    def disconnect_accounts(instance: Group, **kwargs: Any) -> None:
        linking.unlink_tenant(f"group:{instance.pk}")

    group = Group.objects.create(name="acme")
    other = Group.objects.create(name="borealis")
    for number, tenant in enumerate((group, other), start=1):
        linked(maya, f"group:{tenant.pk}", number)
    signal.connect(disconnect_accounts, sender=Group)
    try:
        group.delete()
    finally:
        signal.disconnect(disconnect_accounts, sender=Group)
    assert left() == [(f"group:{other.pk}", "2")]
    assert len(told(ontraport)) == 1


IN_A_POOL_OF_ONE = """
import django; django.setup()
from django.contrib.auth import get_user_model
from django.db import connection
from ontraport_connect import linking
from ontraport_connect.models import OntraportAccount
linking.unlink(OntraportAccount.objects.earliest("pk"))
get_user_model().objects.get(username="tomas").delete()
connection.close()
connection.close_pool()
"""


@pytest.mark.postgresql
def test_a_pool_of_one_connection_is_enough(child_environ: Any, ontraport: HostileServer, maya: Any) -> None:
    linked(maya, "", 1)
    linked(get_user_model().objects.create_user("tomas"), "", 2)
    entry = {name: value for name, value in connection.settings_dict.items() if name != "TEST"}
    pool = {"min_size": 1, "max_size": 1, "timeout": 2}
    entry |= {"CONN_MAX_AGE": 0, "OPTIONS": {**entry["OPTIONS"], "pool": pool}}
    environ = child_environ(
        DATABASES={"default": entry},
        **{name: getattr(settings, name) for name in ("ONTRAPORT_CLIENT_ID", "ONTRAPORT_ENDPOINTS")},
    )
    subprocess.run([sys.executable, "-c", IN_A_POOL_OF_ONE], env=environ, check=True, timeout=60)
    assert left() == []
    assert told(ontraport) == ["refresh--1"]
