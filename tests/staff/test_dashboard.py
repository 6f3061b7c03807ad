"""The admin's dashboard, "Ontraport links at a glance"."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from ontraport_connect.admin import TEMPLATES
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import (
    EventKind,
    Method,
    OntraportAccount,
    OntraportBudget,
    OntraportEvent,
    OntraportRevocation,
    OntraportService,
    Status,
)
from ontraport_connect.refreshing import RATE_LIMITED, circuit_breaker, heartbeat
from ontraport_connect.refreshing.heartbeat import Pulse, Signs
from ontraport_connect.staff import dashboard, notices, tallies
from ontraport_connect.using import DatabaseStore

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya")


@pytest.fixture
def support(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("support"))
    return client


def make_account(user: Any, **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(user=user, **values)
    return account


def html_of(client: Client) -> str:
    return client.get("/admin/ontraport_connect/ontraportaccount/glance/").content.decode()


def text_of(client: Client) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html_of(client))).split())


def test_each_tile_has_the_number_of_its_list(maya: Any, support: Client) -> None:
    now = timezone.now()
    gone = get_user_model().objects.create_user("gone", is_active=False)
    make_account(maya)
    make_account(maya, failures=3)
    make_account(maya, failures=1, last_error="secret_unreadable")
    make_account(gone, expires_at=now - timedelta(minutes=20))
    make_account(maya, method=Method.API_KEY)
    make_account(maya, status=Status.NEEDS_RECONNECT, expires_at=now)
    tiles = {tile.code: tile for tile in dashboard.tiles()}
    assert {code: tile.count for code, tile in tiles.items()} == {
        "all": 6, "connected": 3, "having_trouble": 1, "paused": 1, "needs_reconnect": 1, "expired": 1,
    }  # fmt: skip
    for tile in tiles.values():
        page = support.get(f"/admin/ontraport_connect/ontraportaccount/{tile.query}")
        assert page.context["cl"].result_count == tile.count, tile
    assert (
        "6 connections 3 connected 1 having trouble 1 paused on our side 1 reconnect needed 1 token expired"
        in text_of(support)
    )


def test_large_numbers_have_separators() -> None:
    assert dashboard.Tile(code="all", count=5000, title="", query="").text == "5,000"


def test_chart_has_a_bar_for_each_hour_with_refreshes(support: Client) -> None:
    tallies.count_refreshes({})
    assert "Background refreshes in the last 24 hours None." in text_of(support)
    assert 'class="ontraport-picture"' not in html_of(support)
    tallies.count_refreshes({"refreshed": 6, "recovered": 1, "timeout": 2})
    tallies.count_refreshes({"refreshed": 1})
    row = OntraportBudget.objects.get(pk=tallies.KEY)
    (hour,) = json.loads(row.state)
    row.state = json.dumps({str(int(hour) - 24): [50, 0], str(int(hour) - 3): [0, 5], hour: [8, 2]})
    row.save()
    bars = dashboard.refresh_chart()
    assert [(index, bar.refreshed, bar.failed) for index, bar in enumerate(bars) if bar.count] == [
        (20, 0, 5),
        (23, 8, 2),
    ]
    assert [(bar.height, bar.failed_height) for bar in (bars[20], bars[23])] == [(0, 68), (109, 27)]
    assert {bar.y + bar.height for bar in bars} == {dashboard.Chart.bottom}
    assert len(re.findall(r"<rect ", html_of(support))) == 3
    tallies.count_refreshes({"refreshed": 1})
    assert str(int(hour) - 24) not in OntraportBudget.objects.get(pk=tallies.KEY).state


def test_batch_that_loses_the_race_is_counted_in_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    tallies.count_refreshes({"refreshed": 1})
    held = DatabaseStore().load(tallies.KEY)
    tallies.count_refreshes({"refreshed": 1})
    found = iter([held, DatabaseStore().load(tallies.KEY), held, held, held])
    monkeypatch.setattr(DatabaseStore, "load", lambda self, key: next(found))
    tallies.count_refreshes({"refreshed": 1})
    tallies.count_refreshes({"refreshed": 1})
    monkeypatch.undo()
    assert tallies.last_hours()[-1].refreshed == 3


@override_settings(USE_THOUSAND_SEPARATOR=True, LANGUAGE_CODE="de")
def test_chart_is_drawn_alike_in_every_language(support: Client) -> None:
    tallies.count_refreshes({"refreshed": 2000})
    svg = html_of(support)
    assert re.search(r'<rect x="\d+" y="\d+" width="24" height="136"', svg)


def test_beat_and_workers_are_alive_silent_or_never_seen(support: Client) -> None:
    assert (
        "Scheduler : never seen. Start Celery beat or cron. Workers : never seen. Start a Celery worker or cron."
        in text_of(support)
    )
    heartbeat.record_worker()
    heartbeat.record_beat()
    OntraportService.objects.update(beat_at=timezone.now() - timedelta(hours=2))
    text = text_of(support)
    assert re.search(r"Scheduler : last seen 2 hours ago . Start Celery beat or cron", text)
    assert re.search(r"Workers : running, seen (1 second|(?!1 )\d+ seconds) ago", text)


def test_the_command_line_stands_in_for_beat_and_workers(support: Client) -> None:
    heartbeat.record_command()
    text = text_of(support)
    assert re.search(
        r"Scheduler : never seen. Refreshed from the command line, \d+ seconds? ago. Workers : never", text
    )
    assert "Start Celery beat" not in text


def test_workers_that_are_behind_say_by_how_much(support: Client) -> None:
    heartbeat.record_worker(heartbeat.database_time() - 725)
    assert re.search(r"Workers : running, seen \d+ seconds? ago, but 12 minutes behind Revocations", text_of(support))


def test_age_of_a_heartbeat_is_pluralised() -> None:
    for age, words in ((1.4, "vor 1 Sekunde gesehen"), (7.9, "vor 7 Sekunden gesehen")):
        signs = Signs(beat=Pulse(seen_at=timezone.now(), age=age))
        health = replace(dashboard.site_health(), signs=signs)
        with override("de"):
            page = render_to_string(
                f"{TEMPLATES}/glance.html",
                {"opts": OntraportAccount._meta, "tiles": dashboard.tiles(), "health": health},
            )
        assert words in page


def test_hold_is_shown(support: Client) -> None:
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=600))
    assert "Ontraport is limiting our requests. Refreshing continues at" in text_of(support)
    OntraportService.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert "limiting our requests" not in text_of(support)
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    assert "Ontraport rejected this site's credentials (invalid_client)" in text_of(support)
    OntraportService.objects.update(hold_code="ca_bundle")
    assert "A setting of this site is wrong (ca_bundle)" in text_of(support)
    assert "rejected this site's credentials" not in text_of(support)
    OntraportService.objects.update(hold_code="many_grants_ended")
    assert "Ontraport ended the access of many accounts in a row" in text_of(support)


def test_pending_revocations_are_counted(maya: Any, support: Client) -> None:
    assert "Revocations : all delivered" in text_of(support)
    long_ago = timezone.now() - timedelta(hours=3)
    OntraportRevocation.objects.create(
        account_uid=make_account(maya).uid, refresh_token="let-go-and-kept", created_at=long_ago
    )
    assert re.search(r"1 waiting to be sent, queued 3 hours ago", text_of(support))
    assert "let-go-and-kept" not in html_of(support)


def test_last_failures_are_shown_with_their_owner(maya: Any, support: Client) -> None:
    assert "Latest failures None." in text_of(support)
    account = make_account(maya, label="Harbour Street Coffee")
    OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT, "invalid_grant")
    OntraportEvent.objects.create(kind=EventKind.MISCONFIGURED, detail="invalid_client")
    text = text_of(support)
    reason = "Ontraport no longer accepts our access ( invalid_grant )"
    assert f"Harbour Street Coffee (maya) access lost : {reason}" in text
    assert "site rejected by Ontraport : invalid_client" in text
    for _ in range(20):
        OntraportEvent.record(account, EventKind.REFRESH_FAILING, "timeout")
    assert len(dashboard.recent_failures()) == dashboard.MAX_FAILURES


def test_storm_that_holds_back_notices_is_shown(maya: Any, support: Client) -> None:
    for number in range(notices.STORM):
        OntraportEvent.record(make_account(maya, tenant=f"tenant-{number}"), EventKind.NEEDS_RECONNECT)
    assert "Emails are on hold" not in text_of(support)
    with override_settings(ONTRAPORT_NOTIFY=True):
        assert "Emails are on hold" in text_of(support)


def test_number_of_queries_does_not_grow_with_the_links(maya: Any, support: Client) -> None:
    html_of(support)
    with CaptureQueriesContext(connection) as few:
        html_of(support)
    soon = timezone.now() + timedelta(hours=1)
    OntraportAccount.objects.bulk_create([OntraportAccount(user=maya, expires_at=soon) for _ in range(200)])
    for account in OntraportAccount.objects.all()[:30]:
        OntraportEvent.record(account, EventKind.REFRESH_FAILING)
    with CaptureQueriesContext(connection) as many:
        html_of(support)
    assert len(few) == len(many) <= 10
