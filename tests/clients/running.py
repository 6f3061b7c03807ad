"""The stand-in as a process, the program of a client as another, and the person who is asked for consent in between."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from tests.clients.installed import NODE_CLIENTS, Client
from tests.support.sandbox_client import FormParser, start_sandbox
from tests.support.servers import PROJECT

PATIENCE = 60
"""Seconds after which a program that does not answer is killed."""

ENDED = {"error": "The program of the client has ended."}


@dataclass
class Site:
    """The stand-in. ``wire`` counts what it was sent and answered: method, path and status."""

    url: str
    bundle: str = ""
    wire: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    @property
    def environ(self) -> dict[str, str]:
        """What tells the clients of a private CA."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, self.bundle) if self.bundle else {}

    def control(self, action: str, **settings: Any) -> None:
        verify = self.bundle or True
        requests.post(f"{self.url}/control/{action}", json=settings, verify=verify, timeout=20).raise_for_status()

    def begin(self, **settings: Any) -> None:
        """Set everything to what it was at the start, and then the switches that are named."""
        self.note()
        self.control("reset")
        self.control("settings", **settings)

    def log(self) -> list[dict[str, Any]]:
        """Return the stand-in's own log, the newest request first."""
        state = requests.get(f"{self.url}/control/state", verify=self.bundle or True, timeout=20)
        return list(state.json()["requests"])

    def note(self) -> None:
        """Count what is in the log, which a reset empties."""
        self.wire.update((entry["method"], entry["path"], entry["status"]) for entry in self.log())


@contextmanager
def standing_in(*options: str) -> Iterator[Site]:
    process = start_sandbox("--port", "0", *options)
    try:
        assert process.stdout is not None
        bundle = process.stdout.readline().rpartition(": ")[2].strip() if "--https" in options else ""
        yield Site(url=process.stdout.readline().split()[-1].rstrip("/"), bundle=bundle)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an order: a value, or the words of the error that the client raised."""

    value: Any = None
    error: str = ""


class Person:
    """Logs in and decides, as a browser shows the pages. ``callbacks`` are the answers that were sent back."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.allows = True
        self.callbacks: list[dict[str, str]] = []

    def browse(self, url: str) -> str:
        with requests.Session() as browser:
            browser.trust_env = False  # or REQUESTS_CA_BUNDLE comes before `verify`
            browser.verify = self.site.bundle or True
            page = browser.get(url, timeout=20)
            fields = FormParser(page.text).fields | {"username": "owner", "password": "sandbox"}
            there = browser.post(page.url, data=fields, timeout=20, allow_redirects=False)
            page = browser.get(urljoin(page.url, there.headers["Location"]), timeout=20)
            fields = FormParser(page.text).fields | ({"allow": "true"} if self.allows else {})
            callback = browser.post(page.url, data=fields, timeout=20, allow_redirects=False).headers["Location"]
        answer = parse_qs(urlsplit(callback).query)
        self.callbacks.append({name: values[0] for name, values in answer.items()})
        return callback


class Program:
    """The program of a client, which carries out one order after the other."""

    def __init__(self, client: Client, site: Site) -> None:
        self.client = client
        self.person = Person(site)
        self._environ = {**os.environ, **site.environ, "NODE_CLIENTS": str(NODE_CLIENTS.resolve())}
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.client.command,
            cwd=PROJECT,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
        return dict(json.loads(line)) if line else ENDED

    def do(self, order: str, **arguments: Any) -> Outcome:
        """Carry out an order. A program that has ended, as some do when a connection breaks, is started again for the next one."""
        if self._process.poll() is not None:
            self._process = self._started()
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        try:
            self._write({"do": order, "with": arguments})
            answer = self._read()
            while "browse" in answer:
                self._write({"callback": self.person.browse(answer["browse"])})
                answer = self._read()
        except BrokenPipeError:
            self.stop()
            answer = ENDED
        finally:
            timer.cancel()
        return Outcome(value=answer.get("ok"), error=answer.get("error", ""))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what could not be written any more
                pipe.close()


@contextmanager
def running(client: Client, site: Site) -> Iterator[Program]:
    program = Program(client, site)
    try:
        yield program
    finally:
        program.stop()
