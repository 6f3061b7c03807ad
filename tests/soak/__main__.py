"""Real beat, workers and web processes at a fixed load while everything around them fails; how many links died, and why.

A link that is dead was ended by the strict server because a spent refresh token came again. It died by nobody's fault where the answer with
its newest token was cut off, or went to a process that was killed (``kill -9``) before it could save it: nobody can close that window. Each
other is ours, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import requests

from tests.support.servers import HOST, PostgreSQL, Process, Valkey, free_port
from tests.support.strict_server import settings_for

ACCOUNTS = 120
LIFETIME = 90.0
WEB_REQUESTS = 4.0
"""Requests a second to the web processes."""
STOPPED_FOR = 20.0
"""Seconds of a SIGSTOP; a lease lasts 13 (see ``site``)."""
CALM = 5.0
"""Seconds between two faults."""
SAVED_WITHIN = 6.0
"""Seconds in which a process that is not killed has saved an answer."""
WAYS = ["call"] * 5 + ["refresh", "fail", "fail", "twice", "savepoint"]


class Site:
    """The processes, and what is known of their ends."""

    def __init__(self, url: str, postgresql: PostgreSQL, valkey: Valkey, directory: Path) -> None:
        self.url, self.postgresql, self.valkey, self.directory = url, postgresql, valkey, directory
        self.processes: dict[str, Process] = {}
        self.numbers = itertools.count(1)
        self.names: dict[str, str] = {}
        self.killed: dict[str, float] = {}
        self.ports = {"web-a": free_port(), "web-b": free_port()}
        os.environ["TEST_SETTINGS"] = json.dumps(self.settings("soak"))
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

    def settings(self, name: str) -> dict[str, Any]:
        return {
            **settings_for(self.url),
            "DATABASES": {"default": {**self.postgresql.database(), "CONN_HEALTH_CHECKS": True}},
            "CELERY_BROKER_URL": self.valkey.url,
            "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
            "CELERY_WORKER_ENABLE_REMOTE_CONTROL": False,
            "ROOT_URLCONF": "tests.soak.site",
            "ONTRAPORT_MCP_URL": f"{self.url}/mcp",
            "ONTRAPORT_RESOURCE": f"http://{HOST}/{name}",
            "ONTRAPORT_TIMEOUT": [1, 3],
            "ONTRAPORT_LEEWAY": 5,
            "ONTRAPORT_REFRESH_CONCURRENCY": 8,
        }

    def start(self, role: str) -> None:
        """Start a process anew, under a name of its own."""
        name = self.names[role] = f"{role}.{next(self.numbers)}"
        celery = (sys.executable, "-m", "celery", "-A", "tests.soak.site")
        quiet = (
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--concurrency",
            "2",
            "-n",
            f"{name}@%h",
        )
        command: tuple[str, ...] = (*celery, "worker", *quiet)
        if role == "beat":
            command = (*celery, "beat", "--schedule", str(self.directory / name))
        elif role.startswith("web"):
            command = (sys.executable, "-m", "tests.soak.site", str(self.ports[role]))
        environ = {**os.environ, "TEST_SETTINGS": json.dumps(self.settings(name))}
        self.processes[role] = Process(*command, log=self.directory / f"{name}.log", environ=environ)

    def kill(self, role: str) -> None:
        """Kill the process and its children, and start it again."""
        self.killed[self.names[role]] = time.time()
        self.signal(role, signal.SIGKILL)
        self.processes[role].child.wait()
        self.start(role)

    def signal(self, role: str, how: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.processes[role].pid, how)

    def behave(self, **behaviour: Any) -> None:
        requests.post(f"{self.url}/behave", data={"behaviour": json.dumps(behaviour)}, timeout=10)

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = requests.get(f"{self.url}/report", timeout=10).json()
        return report

    def stop(self) -> None:
        for role, process in self.processes.items():
            self.signal(role, signal.SIGCONT)
            process.stop(timeout=5)


@contextmanager
def open_site() -> Iterator[Site]:
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    with ExitStack() as stack:
        server = Process(sys.executable, "-m", "tests.soak.server", str(LIFETIME), log=directory / "server.log")
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.callback(server.stop)
        url = server.wait_for_line(r"Ready at (\S+)")[1]
        site = Site(url, stack.enter_context(PostgreSQL()), stack.enter_context(Valkey()), directory)
        entry = site.postgresql.database()
        where = {"host": HOST, "port": entry["PORT"], "user": entry["USER"], "password": entry["PASSWORD"]}
        with psycopg.connect(**where, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {entry['NAME']}")
        stack.callback(site.stop)
        yield site


class Watch:
    """Looks at the rows once a second: tokens that have expired while all was well, and links that their customers make anew."""

    def __init__(self, site: Site) -> None:
        from django.core.management import call_command  # noqa: PLC0415 - Django must be set up first

        from tests.support.accounts import linked  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        self.site = site
        self.is_well = True
        self.well_since = time.monotonic()
        self.expired: dict[int, float] = {}
        self.longest = 0.0
        self.made = itertools.count()
        self.relinked = 0
        self.links = [linked(self.new_grant(), expires_in=random.uniform(20, LIFETIME)).pk for _ in range(ACCOUNTS)]

    def new_grant(self) -> str:
        return f"g{next(self.made)}"

    def look(self) -> None:
        from django.db import connection  # noqa: PLC0415

        from ontraport_connect.models import Now, OntraportAccount, Status  # noqa: PLC0415

        try:
            ended = self.site.report()["ends"]
            rows: Any = OntraportAccount.objects.filter(status=Status.CONNECTED, expires_at__lt=Now())
            late = {
                row.pk: row for row in rows if self.is_well and row.refresh_token.reveal().split(".")[1] not in ended
            }
            for pk, row in late.items():
                since = max(row.expires_at.timestamp(), time.time() - (time.monotonic() - self.well_since))
                self.expired[pk] = max(self.expired.get(pk, 0.0), time.time() - since)
            for account in OntraportAccount.objects.filter(status=Status.NEEDS_RECONNECT):
                self.relink(account)
        except Exception:  # noqa: BLE001 - PostgreSQL is restarting
            connection.close()

    def relink(self, account: Any) -> None:
        """What the customer does: a new grant in the row, as after a reconnect."""
        from django.utils import timezone  # noqa: PLC0415

        from ontraport_connect.models import OntraportAccount, Status  # noqa: PLC0415

        grant, now = self.new_grant(), timezone.now()
        account.access_token, account.refresh_token = f"a.{grant}.0", f"r.{grant}.0"
        account.expires_at, account.refresh_at, account.linked_at = now + timedelta(seconds=LIFETIME), now, now
        account.status, account.failures, account.lease_until = Status.CONNECTED, 0, None
        account.save()
        OntraportAccount.objects.filter(pk=account.pk).update(lease_owner="")
        self.relinked += 1

    def trouble(self, *, is_over: bool) -> None:
        self.is_well, self.well_since = is_over, time.monotonic()


def faults(site: Site) -> dict[str, Callable[[], Any]]:
    """What goes wrong, by turns, each until it is over."""

    def for_a_while(seconds: float, **behaviour: Any) -> None:
        site.behave(**behaviour)
        time.sleep(seconds)
        site.behave()

    def stop(role: str) -> None:
        site.signal(role, signal.SIGSTOP)
        time.sleep(STOPPED_FOR)
        site.signal(role, signal.SIGCONT)

    return {
        "PostgreSQL restarted": site.postgresql.restart,
        "worker killed": lambda: site.kill("worker-a"),
        "answers 429": lambda: for_a_while(4, status=429, headers={"Retry-After": "5"}),
        "web killed": lambda: site.kill("web-a"),
        "worker stopped": lambda: stop("worker-b"),
        "answers 500": lambda: for_a_while(5, status=500),
        "Valkey flushed": site.valkey.flush,
        "answers slowly": lambda: for_a_while(6, delay=2.0),
        "answers lost": lambda: for_a_while(1, cut=True),
        "web stopped": lambda: stop("web-b"),
        "beat killed": lambda: site.kill("beat"),
        "Valkey restarted": lambda: site.valkey.restart(signal.SIGKILL),
    }


def browse(site: Site, watch: Watch, end: float, results: Counter[str]) -> None:
    """A fixed load on the web processes."""
    with requests.Session() as session:
        while time.monotonic() < end:
            started = time.monotonic()
            how, port = random.choice(WAYS), random.choice(list(site.ports.values()))
            try:
                answer = session.get(f"http://{HOST}:{port}/{how}/{random.choice(watch.links)}", timeout=6)
                results[f"{how} {answer.text[:20] or answer.status_code}".replace("\n", "")] += 1
            except requests.RequestException:
                results["no answer"] += 1
            time.sleep(max(0.0, 2 / WEB_REQUESTS - (time.monotonic() - started)))


def soak(site: Site, watch: Watch, minutes: float) -> tuple[Counter[str], Counter[str]]:
    """Return the faults by kind, and the answers of the web processes."""
    for role in ("beat", "worker-a", "worker-b", "web-a", "web-b"):
        site.start(role)
    for role in ("web-a", "web-b"):
        site.processes[role].wait_for_line("Ready", timeout=60)
    end = time.monotonic() + minutes * 60
    results, done = Counter[str](), Counter[str]()
    browsers = [threading.Thread(target=browse, args=(site, watch, end, results)) for _ in range(2)]
    watching = threading.Thread(target=lambda: look_until(watch, end + 60))
    for thread in (*browsers, watching):
        thread.start()
    for kind, fault in itertools.cycle(faults(site).items()):
        time.sleep(CALM)
        if time.monotonic() > end - STOPPED_FOR:
            break
        watch.trouble(is_over=False)
        fault()
        watch.trouble(is_over=True)
        done[kind] += 1
    for thread in (*browsers, watching):
        thread.join()
    return done, results


def look_until(watch: Watch, end: float) -> None:
    while time.monotonic() < end:
        watch.look()
        time.sleep(1)


def explain(site: Site, name: str, report: dict[str, Any]) -> tuple[str, str]:
    """Return whose fault the end of a grant is, and a line on it."""
    end, answer = report["ends"][name], report["answers"].get(name)
    if answer is None:
        return "ours", f"{name}: {end['by']} sent {end['token']}, which was never issued"
    came = time.strftime("%H:%M:%S", time.gmtime(answer["at"]))
    later = end["at"] - answer["at"]
    line = f"{name}: {answer['token']} went to {answer['to']} at {came}; {later:.0f} s later {end['by']} sent {end['token']}"
    if answer["cut"]:
        return "lost answer", line
    killed = site.killed.get(answer["to"])
    if killed is not None and -5 < killed - answer["at"] < SAVED_WITHIN:
        return "kill -9", f"{line}; killed {killed - answer['at']:+.1f} s after"
    return "ours", line


def unusable(report: dict[str, Any]) -> list[str]:
    """Return the links that at the end are not as they should be: marked although the grant lives, or with an old token, or expired."""
    from django.db import connection  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from ontraport_connect.models import OntraportAccount, Status  # noqa: PLC0415

    connection.close()  # PostgreSQL was restarted
    found: list[str] = []
    rows: Any = OntraportAccount.objects.all()
    for row in rows:
        token = row.refresh_token.reveal()
        name = token.split(".")[1]
        if name in report["ends"]:
            continue
        newest = report["answers"].get(name, {"token": token})["token"]
        if row.status != Status.CONNECTED or row.expires_at < timezone.now():
            found.append(f"{name}: {row.status}, {row.last_error or 'expired'}")
        elif token != newest and row.lease_until is None:
            found.append(f"{name}: holds {token}, and {newest} was issued")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    with open_site() as site:
        import django  # noqa: PLC0415 - the settings name the servers that were just started

        django.setup()
        watch = Watch(site)
        done, results = soak(site, watch, minutes)
        site.stop()
        report = site.report()
        wrong = unusable(report)
    causes = [explain(site, name, report) for name in report["ends"]]
    by_cause = Counter(cause for cause, _ in causes)
    print(f"{minutes:g} minutes, {ACCOUNTS} links, tokens of {LIFETIME:g} s, {WEB_REQUESTS:g} web requests a second")
    print(f"refreshes: {report['refreshes']} in {report['requests']} requests")
    print("faults:", ", ".join(f"{kind} {count}" for kind, count in done.items()))
    print("web:", ", ".join(f"{kind} {count}" for kind, count in sorted(results.items())))
    print(f"links dead by our fault: {by_cause['ours']}; unusable at the end: {len(wrong)}")
    print(
        f"links lost to kill -9: {by_cause['kill -9']}, to lost answers: {by_cause['lost answer']}; made anew: {watch.relinked}"
    )
    for cause, line in sorted(causes)[:24]:
        print(f"  {cause}: {line}")
    for line in wrong[:10]:
        print(f"  unusable: {line}")
    longest = max(watch.expired.values(), default=0.0)
    print(f"tokens that were expired while all was well: {len(watch.expired)}, the longest for {longest:.1f} s")
    return 1 if by_cause["ours"] or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
