"""Whatever stops is told, by a signal that wakes somebody, in a time that is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from celery import Celery
from django.test import override_settings

from ontraport_connect.models import OntraportEvent
from tests.drill.site import STEP, TOKEN, DrilledSite
from tests.support.servers import PROJECT
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(strict: StrictServer) -> Iterator[DrilledSite]:
    """A site that has been well for ten minutes, and whose watchers have nothing to say."""
    app = Celery("drill", broker="memory://", set_as_current=True)
    with override_settings(ONTRAPORT_MONITORING_TOKEN=TOKEN):
        site = DrilledSite(strict, app)
        with site.watched():
            site.run(120, watch=False)
            site.run(480)
            site.start_drill()
            OntraportEvent.objects.all().delete()
            yield site
    app.control.purge()
    app.close()


def stop_worker(site: DrilledSite) -> None:
    site.works = False


def stop_beat(site: DrilledSite) -> None:
    site.beats = False


def fill_queue(site: DrilledSite) -> None:
    site.behind = 10_000


def lengthen_queue(site: DrilledSite) -> None:
    """Other people's tasks take the workers twelve minutes."""
    site.behind = 720


def wrong_secret(site: DrilledSite) -> None:
    site.strict.behave(status=401, members={"error": "invalid_client"})


def provider_away(site: DrilledSite) -> None:
    site.strict.behave(status=503)


def database_away(site: DrilledSite) -> None:
    site.is_away = True


DRILLS: list[tuple[str, Callable[[DrilledSite], None], int, dict[str, int]]] = [
    (
        "wrong secret",
        wrong_secret,
        600,
        {
            "health 503 site_refused": 60,
            "signal site_refused": 60,
            "event misconfigured": 60,
            "alert OntraportRefusesSite": 180,
        },
    ),
    ("stopped worker", stop_worker, 1200, {"health 503 worker_silent": 330, "alert OntraportRefreshingStopped": 630}),
    ("stopped beat", stop_beat, 1200, {"health 503 beat_silent": 360, "alert OntraportRefreshingStopped": 660}),
    ("full queue", fill_queue, 1200, {"health 503 worker_silent": 330, "alert OntraportRefreshingStopped": 630}),
    ("long queue", lengthen_queue, 1800, {"health warns tasks_late": 810, "alert OntraportRefreshingStopped": 630}),
    ("provider away", provider_away, 1200, {"event refresh_failing": 120, "alert OntraportRefreshingStopped": 900}),
    ("database away", database_away, 600, {"health 503 database": STEP, "alert OntraportRefreshingStopped": 330}),
]


@pytest.mark.parametrize(("name", "breakage", "seconds", "expected"), DRILLS, ids=[drill[0] for drill in DRILLS])
def test_what_stops_is_told_in_time(
    site: DrilledSite, name: str, breakage: Callable[[DrilledSite], None], seconds: int, expected: dict[str, int]
) -> None:
    breakage(site)
    site.run(seconds)
    print(f"\n{name}")
    for signal, when in sorted(site.first.items(), key=lambda each: each[1]):
        print(f"  {when:5} s  {signal}")
    assert {
        signal: site.first.get(signal) for signal in expected if site.first.get(signal, 10**9) > expected[signal]
    } == {}


LOGGING = {
    "version": 1,
    "disable_existing_loggers": True,
    "formatters": {"verbose": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"level": "DEBUG", "class": "logging.StreamHandler", "formatter": "verbose"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {"django.db.backends": {"level": "ERROR", "handlers": ["console"], "propagate": False}},
}
"""What cookiecutter-django has in its production settings."""

SCRIPT = """
import ontraport_connect.schedule
import django
django.setup()
from uuid import UUID
from ontraport_connect import monitoring
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.refreshing import circuit_breaker
monitoring.refresh_ended(UUID(int=0), "refreshed", 0.1)
circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
"""


def test_the_log_of_cookiecutter_django_has_the_alarm_and_the_events(
    child_environ: Callable[..., dict[str, str]], strict: StrictServer
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=PROJECT,
        env={**os.environ, **child_environ(LOGGING=LOGGING, **json.loads(json.dumps(strict.settings)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "INFO ontraport_connect.refreshing Refresh of account" in done.stderr
    assert "CRITICAL ontraport_connect refused" in done.stderr
