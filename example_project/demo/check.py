"""`--check`: walk a newcomer's way over real HTTP, and print a line and a time for each step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from example_project.demo.browser import Browser, Page
from example_project.demo.processes import Processes
from example_project.demo.services import Demo

SECONDS_FOR_ROTATION = 40.0
TIMEOUT = 10.0


class StepFailed(Exception):
    """Says what a step expected and did not find."""


def expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise StepFailed(otherwise)


@dataclass
class Walk:
    """The steps in order. Each finds in ``page`` what the step before it left there."""

    demo: Demo
    processes: Processes
    browser: Browser = field(default_factory=Browser)
    page: Page = field(init=False)

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        return [
            ("signed in", self.sign_in),
            ("pressed Connect, sent to Ontraport", self.press_connect),
            ("logged in there, asked for consent", self.log_in_at_ontraport),
            ("allowed, back on the site and connected", self.consent),
            ("contacts shown", self.see_contacts),
            ("token rotated by beat and worker", self.see_rotation),
            ("contacts shown with the new token", self.see_contacts),
            ("disconnected", self.disconnect),
            ("the grant is dead at Ontraport", self.see_grant_dead),
        ]

    def sandbox_state(self) -> dict[str, Any]:
        response = requests.get(f"{self.demo.sandbox}control/state", timeout=TIMEOUT)
        state: dict[str, Any] = response.json()
        return state

    def refreshes(self) -> int:
        return int(self.sandbox_state()["counts"].get("token:refresh_token", 0))

    def refreshed_at(self) -> str:
        self.page = self.browser.open(self.demo.site)
        return self.page.times.get("refreshed-at", "")

    def sign_in(self) -> None:
        page = self.browser.open(f"{self.demo.site}sign-in/")
        form = page.form(names="password")
        self.page = self.browser.send(page, form, username="maya", password="demo")  # noqa: S106
        expect(self.page.url == self.demo.site, f"landed on {self.page.url} instead of the dashboard")

    def press_connect(self) -> None:
        self.page = self.browser.send(self.page, self.page.form(action="/ontraport/connect/"))
        expect(self.page.url.startswith(self.demo.sandbox), f"landed on {self.page.url} instead of the sandbox")

    def log_in_at_ontraport(self) -> None:
        form = self.page.form(names="password")
        self.page = self.browser.send(self.page, form, username="owner", password="sandbox")  # noqa: S106
        expect(self.page.form(names="client_id").buttons, "no button to allow with")

    def consent(self) -> None:
        form = self.page.form(names="client_id")
        self.page = self.browser.send(self.page, form, button="allow")
        expect(self.page.url.startswith(self.demo.site), f"landed on {self.page.url} instead of the site")
        expect(not urlsplit(self.page.url).query, f"parameters are left in {self.page.url}")
        alive = [grant for grant in self.sandbox_state()["grants"] if grant["alive"]]
        expect(len(alive) == 1, f"{len(alive)} grants are alive at the sandbox, not 1")
        expect("refreshed-at" in self.browser.open(self.demo.site).times, "the dashboard does not say connected")

    def see_contacts(self) -> None:
        self.page = self.browser.open(f"{self.demo.site}contacts/")
        expect(self.page.status == 200, f"status {self.page.status}: {self.page.text[:200]}")
        expect("@example." in self.page.text, f"no contact on the page: {self.page.text[:200]}")

    def see_rotation(self) -> None:
        count, shown = self.refreshes(), self.refreshed_at()
        deadline = time.monotonic() + SECONDS_FOR_ROTATION
        while self.refreshes() <= count or self.refreshed_at() <= shown:
            self.processes.raise_if_one_died()
            expect(time.monotonic() < deadline, f"no refresh within {SECONDS_FOR_ROTATION:.0f} seconds")
            time.sleep(0.25)
        expect(self.sandbox_state()["counts"].get("reuse_detected", 0) == 0, "a refresh token was spent twice")

    def disconnect(self) -> None:
        self.page = self.browser.open(f"{self.demo.site}ontraport/")
        self.page = self.browser.send(self.page, self.page.form(action="/disconnect/"))
        expect(self.page.status == 200, f"status {self.page.status}: {self.page.text[:200]}")
        expect("refreshed-at" not in self.browser.open(self.demo.site).times, "the dashboard still says connected")

    def see_grant_dead(self) -> None:
        grants = self.sandbox_state()["grants"]
        expect(grants, "the sandbox knows of no grant")
        deadline = time.monotonic() + TIMEOUT
        while any(grant["alive"] for grant in self.sandbox_state()["grants"]):
            expect(time.monotonic() < deadline, "a grant is still alive at the sandbox")
            time.sleep(0.25)


def report(verdict: str, began: float, text: str) -> None:
    print(f"{verdict:<4} {time.monotonic() - began:6.2f} s  {text}", flush=True)


def walk(demo: Demo, processes: Processes, began: float) -> bool:
    """Print a line for each step and the total, and stop at the first that fails. ``began`` is when the demo was started."""
    report("ok", began, "sandbox, Valkey, site, worker and beat started")
    all_hold = True
    for name, step in Walk(demo, processes).steps():
        step_began = time.monotonic()
        try:
            step()
        except (StepFailed, LookupError, requests.RequestException) as error:
            report("FAIL", step_began, f"{name}: {error}")
            all_hold = False
            break
        report("ok", step_began, name)
    report("ok" if all_hold else "FAIL", began, "in all")
    return all_hold
