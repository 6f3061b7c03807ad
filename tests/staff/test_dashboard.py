"""The admin's dashboard, "Ontraport links at a glance"."""

from __future__ import annotations

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
    OntraportEvent,
    OntraportRevocation,
    OntraportService,
    Status,
)
from ontraport_connect.refreshing import RATE_LIMITED, circuit_breaker, heartbeat
from ontraport_connect.refreshing.heartbeat import Pulse
from ontraport_connect.staff import dashboard, notices

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


def test_counts_how_many_links_are_in_each_condition(maya: Any, support: Client) -> None:
    now = timezone.now()
    gone = get_user_model().objects.create_user("gone", is_active=False)
    make_account(maya)
    make_account(maya, failures=3)
    make_account(maya, expires_at=now + timedelta(minutes=20))
    make_account(gone, expires_at=now - timedelta(minutes=20))
    make_account(maya, method=Method.API_KEY)
    make_account(maya, status=Status.NEEDS_RECONNECT, expires_at=now)
    assert dashboard.link_counts() == {
        "all": 6, "well": 4, "failing": 1, "ended": 1, "expiring": 1, "expired": 1, "inactive": 1,
    }  # fmt: skip
    assert (
        "6 links 4 connected 1 refresh failing 1 to be reconnected 1 token ends within the hour 1 token has ended"
        in (text_of(support))
    )
    OntraportAccount.objects.exclude(status=Status.NEEDS_RECONNECT).update(
        expires_at=now - timedelta(hours=1), method=Method.OAUTH
    )
    assert "0 tokens end within the hour 5 tokens have ended" in text_of(support)


def test_chart_has_a_bar_for_each_hour_in_which_tokens_end(maya: Any, support: Client) -> None:
    now = timezone.now()
    make_account(maya, expires_at=now - timedelta(seconds=1))
    for hours in (2, 2, 5, 25):
        make_account(maya, expires_at=now.replace(minute=30, second=0) + timedelta(hours=hours))
    bars = dashboard.expiring_tokens()
    assert [(index, bar.count) for index, bar in enumerate(bars) if bar.count] == [(2, 2), (5, 1)]
    assert [bars[2].height, bars[5].height] == [dashboard.Chart.height, dashboard.Chart.height // 2]
    assert {bar.y + bar.height for bar in bars} == {dashboard.Chart.bottom}
    assert len(re.findall(r"<rect ", html_of(support))) == 2


def test_empty_chart_is_replaced_by_a_word(support: Client) -> None:
    assert "Tokens that end in the next 24 hours None. Last failures" in text_of(support)
    assert 'class="ontraport-picture"' not in html_of(support)


@override_settings(USE_THOUSAND_SEPARATOR=True, LANGUAGE_CODE="de")
def test_chart_is_drawn_alike_in_every_language(maya: Any, support: Client) -> None:
    make_account(maya, expires_at=timezone.now() + timedelta(hours=2))
    svg = html_of(support)
    assert re.search(r'<rect x="\d+" y="\d+" width="24" height="140"', svg)


def test_beat_and_workers_are_alive_silent_or_never_seen(support: Client) -> None:
    assert "Celery beat, or cron : never seen: start it Celery workers, or cron : never seen: start it" in text_of(
        support
    )
    heartbeat.record_worker()
    heartbeat.record_beat()
    OntraportService.objects.update(beat_at=timezone.now() - timedelta(hours=2))
    text = text_of(support)
    assert re.search(r"Celery beat, or cron : not seen for 2\shours: start it", text)
    assert re.search(r"Celery workers, or cron : alive, seen (1 second|(?!1 )\d+ seconds) ago", text)


def test_age_of_a_heartbeat_is_pluralised() -> None:
    for age, words in ((1.4, "vor 1 Sekunde gesehen"), (7.9, "vor 7 Sekunden gesehen")):
        health = replace(dashboard.site_health(), pulses={"beat": Pulse(seen_at=timezone.now(), age=age)})
        with override("de"):
            page = render_to_string(
                f"{TEMPLATES}/glance.html",
                {"opts": OntraportAccount._meta, "counts": dashboard.link_counts(), "health": health},
            )
        assert words in page


def test_hold_is_shown(support: Client) -> None:
    circuit_breaker.hold(OntraportUnavailable("slow down", code=RATE_LIMITED, retry_after=600))
    assert "Ontraport asked this site to slow down. Refreshing goes on at" in text_of(support)
    OntraportService.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert "slow down" not in text_of(support)
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    assert "Ontraport refuses this site as a client (invalid_client)" in text_of(support)


def test_no_refresh_is_promised_while_none_is_done(maya: Any, support: Client) -> None:
    make_account(maya, expires_at=timezone.now() + timedelta(hours=2))
    assert "Each is refreshed before it ends." in text_of(support)
    circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
    assert "Each is refreshed before it ends." not in text_of(support)


def test_pending_revocations_are_counted(maya: Any, support: Client) -> None:
    assert "Ontraport has been told of all" in text_of(support)
    long_ago = timezone.now() - timedelta(hours=3)
    OntraportRevocation.objects.create(
        account_uid=make_account(maya).uid, refresh_token="let-go-and-kept", created_at=long_ago
    )
    assert re.search(r"Ontraport has still to be told of 1, the oldest for 3\shours", text_of(support))
    assert "let-go-and-kept" not in html_of(support)


def test_last_failures_are_shown_with_their_owner(maya: Any, support: Client) -> None:
    assert "Last failures None." in text_of(support)
    account = make_account(maya, label="Harbour Street Coffee")
    OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT, "invalid_grant")
    OntraportEvent.objects.create(kind=EventKind.MISCONFIGURED, detail="invalid_client")
    text = text_of(support)
    reason = "Ontraport no longer accepts the permission ( invalid_grant )"
    assert f"Harbour Street Coffee (maya) needs reconnect {reason}" in text
    assert "this site was refused by Ontraport invalid_client" in text
    for _ in range(20):
        OntraportEvent.record(account, EventKind.REFRESH_FAILING, "timeout")
    assert len(dashboard.recent_failures()) == dashboard.MAX_FAILURES


def test_storm_that_holds_back_notices_is_shown(maya: Any, support: Client) -> None:
    for number in range(notices.STORM):
        OntraportEvent.record(make_account(maya, tenant=f"tenant-{number}"), EventKind.NEEDS_RECONNECT)
    assert "are not told by e-mail" not in text_of(support)
    with override_settings(ONTRAPORT_NOTIFY=True):
        assert "are not told by e-mail" in text_of(support)


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
    assert len(few) == len(many) <= 9
