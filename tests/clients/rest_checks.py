"""A REST client from PyPI: the recorded exchanges of Ontraport's clients over HTTP, lists page by page, limits and faults."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from ontraport_connect.sandbox import FAULT_KINDS
from tests.clients.installed import Client
from tests.clients.judging import Expected, Ledger
from tests.clients.mcp_calls import rule
from tests.clients.running import Outcome, Program, Site
from tests.sandbox.test_recorded_exchanges import EXCHANGES, Exchange
from tests.support.sandbox_client import KEY_PAIR

AGENCY = {"Api-Appid": "2_204211_sandbox", "Api-Key": "sandbox-key-agency"}
LUCIA = Expected(answer={"code": 0, "account_id": 187157, "data": {"id": "2", "firstname": "Lucía"}})
DELAYS = {"slow", "late"}


def connect(program: Program, site: Site, headers: dict[str, str] = KEY_PAIR) -> None:
    program.do("connect", url=f"{site.url}/", headers=headers)


def one(program: Program, number: int = 2, method: str = "GET") -> Outcome:
    return program.do("send", method=method, path="Contact", params={"id": number})


def expected_of(exchange: Exchange) -> Expected:
    if isinstance(exchange.answer, str):
        return Expected(refusal=f"{exchange.status} .*{re.escape(exchange.answer)}")
    return Expected(answer={"code": 0, **exchange.answer})


def exchanges(ledger: Ledger, program: Program, site: Site) -> None:
    """What seven clients were recorded to send, each on the records as they are at the start."""
    for exchange in EXCHANGES:
        site.begin()
        connect(program, site)
        path, _, query = exchange.path.partition("?")
        outcome = program.do(
            "send",
            method=exchange.method,
            path=path,
            params=dict(parse_qsl(query)),
            sent=exchange.sent,
            is_form=exchange.is_form,
        )
        request = f"{exchange.method} /1/{path}"
        ledger.note(f"recorded of {exchange.client}", request, outcome, expected_of(exchange))


def lists(ledger: Ledger, program: Program, site: Site) -> None:
    """Lists page by page, to the first empty page."""
    newest_first: dict[str, Any] = {"sort": "id", "sortDir": "desc"}
    late = {"condition": json.dumps([rule("id", ">", 60)]), "sort": "dlm"}
    asked: dict[str, tuple[dict[str, Any], list[int], list[int]]] = {
        "all": ({"sort": "id"}, [50, 50, 20, 0], [*range(1, 121)]),
        "the newest first": (newest_first, [50, 50, 20, 0], [*range(120, 0, -1)]),
        "id > 60, by dlm": (late, [50, 10, 0], [*range(61, 121)]),
        "a search": ({"search": "nobody at all"}, [0], []),
    }
    site.begin(contacts=120)
    connect(program, site)
    for name, (params, sizes, ids) in asked.items():
        outcome = program.do("pages", path="Contacts", params=params)
        expected = Expected(answer={"sizes": sizes, "ids": ids})
        ledger.note("120 contacts", f"GET /1/Contacts page by page, {name}", outcome, expected)


def accounts(ledger: Ledger, program: Program, site: Site) -> None:
    site.begin()
    whose = {
        "keys of another account": (AGENCY, Expected(answer={"account_id": 204211, "data": {"firstname": "Diego"}})),
        "wrong keys": ({"Api-Appid": "2_1_x", "Api-Key": "x"}, Expected(refusal="401 Your App ID and API Key do not")),
        "no keys": ({}, Expected(refusal="401 Your App ID and API Key do not")),
    }
    for name, (headers, expected) in whose.items():
        connect(program, site, headers)
        ledger.note(name, "GET /1/Contact", one(program), expected)
    site.begin(rate_limit=2, rate_window=600)
    connect(program, site)
    for expected in (LUCIA, LUCIA, Expected(refusal="429")):
        ledger.note("two requests", "GET /1/Contact", one(program), expected)


def faults(ledger: Ledger, program: Program, site: Site) -> None:
    """A fault for each request, and none again. A deletion whose answer is lost has been made."""
    for kind in (kind for kind in FAULT_KINDS if kind != "none"):
        name = f"fault: {kind}"
        site.begin()
        connect(program, site)
        site.control("settings", fault=kind, fault_target="rest", fault_seconds=0.2)
        expected = LUCIA if kind in DELAYS else Expected(refusal=".")
        ledger.note(name, "GET /1/Contact", one(program), expected)
        outcome = one(program, 3, "DELETE")
        deleted = Expected(answer={"code": 0, "account_id": 187157})
        ledger.note(name, "DELETE /1/Contact", outcome, deleted if kind in DELAYS else expected)
        site.control("settings", fault="none", fault_target="rest")
        is_gone = kind in DELAYS or kind == "lost"
        there = Expected(answer={"data": {"id": "3", "firstname": "Jonas"}})
        outcome = one(program, 3)
        ledger.note(name, "GET /1/Contact, after it", outcome, Expected(refusal="404") if is_gone else there)


def check(client: Client, ledger: Ledger, program: Program, site: Site, wanted: str) -> None:
    """Run all checks of which the name matches ``wanted``, a regular expression."""
    for each in (exchanges, lists, accounts, faults):
        if re.search(wanted, each.__name__):
            each(ledger, program, site)
    site.note()
