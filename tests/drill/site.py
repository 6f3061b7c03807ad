"""A site whose clock is moved by hand, and everybody who watches it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Celery
from django.db import OperationalError, connection
from django.db.models import F
from django.test import Client
from django.utils import timezone
from kombu.exceptions import OperationalError as NoBroker

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount, OntraportEvent, OntraportService
from ontraport_connect.signals import site_refused
from tests.monitoring.scrape import Samples, samples
from tests.support.accounts import linked
from tests.support.strict_server import StrictServer

STEP = 30
"""Simulated seconds between two looks at the site."""

ACCOUNTS = 60
LONGEST = 7200
TOKEN = "a-token-for-monitoring-alone"
COLUMNS: dict[Any, tuple[str, ...]] = {
    OntraportAccount: ("refresh_at", "expires_at", "refreshed_at", "lease_until", "linked_at"),
    OntraportService: ("beat_at", "worker_at", "held_until"),
    OntraportEvent: ("at",),
}


class Watcher(logging.Handler):
    """The log of the site: what WARNING and above of this app says first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


class DrilledSite:
    """Beat once a minute, one worker, and a look at every signal each thirty seconds."""

    def __init__(self, strict: StrictServer, queue: Celery) -> None:
        self.strict, self.queue = strict, queue
        self.now = 0
        self.beats = self.works = True
        self.foreign = 0
        self.first: dict[str, int] = {}
        self.alert_since: dict[str, int] = {}
        self.log = Watcher()
        self.is_away = False
        now = timezone.now()
        for number in range(ACCOUNTS):
            due = now + timedelta(seconds=60 * number)
            linked(f"g{number}", ontraport_id=str(number), expires_in=600 + 60 * number, refresh_at=due)

    @contextmanager
    def watched(self) -> Iterator[None]:
        logger = logging.getLogger("ontraport_connect")

        def refused(code: str, **values: Any) -> None:
            self.tell("signal site_refused")

        with ExitStack() as stack:
            logger.addHandler(self.log)
            stack.callback(logger.removeHandler, self.log)
            site_refused.connect(refused)
            stack.callback(site_refused.disconnect, refused)
            yield

    def tell(self, signal: str) -> None:
        self.first.setdefault(signal, self.now)

    def run(self, seconds: int, *, watch: bool = True) -> None:
        for _ in range(0, seconds, STEP):
            self.pass_time()
            if self.beats and self.now % 60 == 0:
                self.attempt(tasks.refresh_expiring_tokens)
            if self.works:
                self.work()
            if watch:
                self.look()

    def start_drill(self) -> None:
        """Forget what was seen while the site was well: nothing, if it was."""
        assert self.first == {}
        assert [line for line in self.log.lines if "CRITICAL" in line] == []
        self.log.lines.clear()
        self.now = 0

    def pass_time(self) -> None:
        self.now += STEP
        if self.is_away:
            return
        for model, names in COLUMNS.items():
            model._base_manager.update(**{name: F(name) - timedelta(seconds=STEP) for name in names})

    def work(self) -> None:
        """Handle what is in the queue; foreign messages are ahead of ours, one a look."""
        if self.foreign:
            self.foreign -= 1
            return
        with self.queue.connection_for_read() as broker, broker.SimpleQueue("celery") as messages:
            for _ in range(len(messages)):
                message = messages.get_nowait()
                task, arguments = self.queue.tasks[message.headers["task"]], message.payload[0]
                message.ack()
                self.attempt(partial(task, *arguments))

    def attempt(self, step: Callable[[], Any]) -> None:
        try:
            with self.database():
                step()
        except (OperationalError, NoBroker) as error:
            self.tell(f"task fails ({type(error).__name__})")

    @contextmanager
    def database(self) -> Iterator[None]:
        def away(*arguments: Any) -> Any:
            raise OperationalError("the database is away")

        with ExitStack() as stack:
            if self.is_away:
                stack.enter_context(connection.execute_wrapper(away))
            yield

    def look(self) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with self.database():
            health = Client().get("/ontraport/health/", headers=headers)
            scrape = Client().get("/ontraport/metrics/", headers=headers)
        body = health.json()
        for code in body["problems"]:
            self.tell(f"health 503 {code}")
        for code in body["warnings"]:
            self.tell(f"health warns {code}")
        self.check_alerts(samples(scrape.content.decode()) if scrape.status_code == 200 else {})
        for line in self.log.lines:
            self.tell(f"log {re.split('[;:.(]', line.replace(': ', ' ', 1))[0][:52].strip()}")
        if not self.is_away:
            for kind in OntraportEvent.objects.values_list("kind", flat=True).distinct():
                self.tell(f"event {kind}")

    def check_alerts(self, found: Samples) -> None:
        """Evaluate the three alerts of docs/alerts.yml as Prometheus does: true at every look for as long as ``for`` says."""

        def most(name: str, **labels: str) -> float:
            wanted = labels.items()
            values = [
                value
                for (metric, has), value in found.items()
                if metric == f"ontraport_connect_{name}" and wanted <= dict(has).items()
            ]
            return max(values, default=0.0)

        stopped = (
            most("oldest_due_seconds") > 600
            or most("heartbeat_age_seconds", process="beat") > 300
            or most("heartbeat_age_seconds", process="worker") > 300
            or (most("failing") >= 3 and most("last_refresh_age_seconds") > 300)
            or most("failing") > 0.5 * most("accounts", state="connected")
            or not found
        )
        self.alert("OntraportRefusesSite", most("site_refused") == 1, 120)
        self.alert("OntraportRefreshingStopped", stopped, 300)
        self.alert("OntraportLinksEnded", most("accounts", state="needs_reconnect") >= 10, 0)

    def alert(self, name: str, is_true: bool, seconds: int) -> None:
        if not is_true:
            self.alert_since.pop(name, None)
        elif self.now - self.alert_since.setdefault(name, self.now) >= seconds:
            self.tell(f"alert {name}")
