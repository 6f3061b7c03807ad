"""A site whose clock is moved by hand, and everybody who watches it."""

from __future__ import annotations

import json
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
from ontraport_connect.models import OntraportAccount, OntraportBudget, OntraportEvent, OntraportService
from ontraport_connect.refreshing import heartbeat
from ontraport_connect.signals import site_refused
from ontraport_connect.tasks import DUE_AT
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
        self.behind = 0
        self.line: list[tuple[int, Any, list[Any], dict[str, Any]]] = []
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
                self.queue.send_task(tasks.refresh_expiring_tokens.name)
            self.receive()
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
        for note in OntraportBudget.objects.filter(pk=heartbeat.QUEUE):
            told = json.loads(note.state)
            OntraportBudget.objects.filter(pk=note.pk).update(state=json.dumps({**told, "at": told["at"] - STEP}))

    def receive(self) -> None:
        """Let what was sent stand in line."""
        with self.queue.connection_for_read() as broker, broker.SimpleQueue("celery") as messages:
            for _ in range(len(messages)):
                message = messages.get_nowait()
                headers = {DUE_AT: message.headers[DUE_AT]} if DUE_AT in message.headers else {}
                self.line.append((self.now, self.queue.tasks[message.headers["task"]], message.payload[0], headers))
                message.ack()

    def work(self) -> None:
        """Run what has stood in line for long enough: for ``behind`` seconds, other people's tasks are ahead of it.

        What a task sends is run at once, where nothing is ahead.
        """
        while self.line and self.line[0][0] <= self.now - self.behind:
            arrived, task, arguments, headers = self.line.pop(0)
            waited = self.now - arrived
            moved = {name: due - waited for name, due in headers.items()}
            self.attempt(partial(task.apply, arguments, headers=moved, throw=True))
            self.receive()

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
            or min(most("heartbeat_age_seconds", process=name) for name in ("beat", "command")) > 300
            or min(most("heartbeat_age_seconds", process=name) for name in ("worker", "command")) > 300
            or most("task_delay_seconds") > 600
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
