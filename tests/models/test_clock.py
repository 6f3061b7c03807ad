"""The clock of the database, in every zone that a site, a connection or a server may have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import Value
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.models import Now, OntraportAccount
from ontraport_connect.refreshing import one_account
from tests.support.accounts import linked, read, token_of
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

ZONES = ["UTC", "America/Chicago", "Asia/Kolkata"]


@pytest.fixture(params=[(zone, use) for use in (True, False) for zone in ZONES], ids=str)
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """A site in that zone, with and without ``USE_TZ``."""
    name, use_tz = request.param
    with override_settings(TIME_ZONE=name, USE_TZ=use_tz):
        yield
    connection.close()


def is_now(moment: datetime) -> bool:
    return abs(moment - timezone.now()) < timedelta(minutes=5)


@pytest.mark.usefixtures("zone")
def test_the_databases_now_is_what_python_stores_as_now() -> None:
    linked("one", expires_in=3600)
    row: Any = OntraportAccount.objects.annotate(now=Now()).get()
    assert is_now(row.now)
    assert not OntraportAccount.objects.filter(expires_at__lte=Now()).exists()
    assert OntraportAccount.objects.filter(expires_at__lte=Now() + Value(timedelta(hours=1, minutes=5))).exists()
    OntraportAccount.objects.update(refresh_at=Now(), refreshed_at=Now() - Value(timedelta(days=1)))
    row = OntraportAccount.objects.get()
    assert is_now(row.refresh_at)
    assert is_now(row.refreshed_at + timedelta(days=1))


@pytest.mark.usefixtures("zone")
def test_a_token_that_ends_in_a_minute_is_refreshed_once_and_not_before(strict: StrictServer) -> None:
    """Django's own ``Now`` is hours away from what SQLite and MySQL have stored, without ``USE_TZ`` or in another zone."""
    account = linked("one", expires_in=1800, refresh_at=timezone.now() + timedelta(minutes=20))
    one_account.ensure_fresh(read(account))
    assert not OntraportAccount.objects.due().exists()
    a_second_ago = timezone.now() - timedelta(seconds=1)  # SQLite's clock counts milliseconds
    OntraportAccount.objects.update(expires_at=timezone.now() + timedelta(seconds=30), refresh_at=a_second_ago)
    assert OntraportAccount.objects.due().exists()
    one_account.ensure_fresh(read(account))
    account = read(account)
    assert (token_of(account), strict.requests, strict.dead) == ("a.one.1", 1, [])
    assert account.refreshed_at is not None
    assert is_now(account.refreshed_at)


def forget_zone() -> None:
    """Django reads the zone of a connection once."""
    for name in ("timezone", "timezone_name"):
        vars(connections["default"]).pop(name, None)


def test_a_connection_may_store_times_of_another_zone() -> None:
    settings = connection.settings_dict
    settings["TIME_ZONE"] = "Asia/Tokyo"
    forget_zone()
    try:
        linked("one", expires_in=3600)
        row: Any = OntraportAccount.objects.annotate(now=Now()).get()
        assert is_now(row.now)
        assert not OntraportAccount.objects.filter(expires_at__lte=Now()).exists()
    finally:
        settings["TIME_ZONE"] = None
        forget_zone()


@pytest.mark.postgresql
@pytest.mark.usefixtures("zone")
def test_a_database_may_have_another_zone_than_the_site() -> None:
    """https://github.com/celery/django-celery-beat/issues/80"""

    def alter(change: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {connection.ops.quote_name(connection.settings_dict['NAME'])} {change}")
        connection.close()

    alter("SET timezone TO 'Asia/Tokyo'")
    try:
        linked("one", expires_in=3600)
        row: Any = OntraportAccount.objects.annotate(now=Now()).get()
        assert is_now(row.now)
        assert not OntraportAccount.objects.filter(expires_at__lte=Now()).exists()
        assert OntraportAccount.objects.filter(expires_at__lte=Now() + Value(timedelta(hours=1, minutes=5))).exists()
    finally:
        alter("RESET timezone")
