"""Every MCP client under every setting, and what is done to a connection that is open: sessions end, answers fail, limits are met."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from ontraport_connect.sandbox import FAULT_KINDS
from tests.clients.installed import Client
from tests.clients.judging import Expected, Ledger, of_tool
from tests.clients.mcp_calls import ACCOUNT, CALLS, WHO, Call
from tests.clients.mcp_settings import NO_WORDS, SETTINGS, Setting
from tests.clients.running import Outcome, Program, Site
from tests.support.sandbox_client import KEY_PAIR, REDIRECT_URI, Attempt

ANY_WORDS = "."
HERE = "get_account_info"
ENDED = "404|400|session|terminated"
DELAYS = {"slow", "late"}


def connect(ledger: Ledger, setting: str, program: Program, site: Site, headers: Mapping[str, str]) -> bool:
    outcome = program.do("connect", url=f"{site.url}/", headers=dict(headers))
    return ledger.note(setting, "initialize", outcome, Expected(answer={}))


def call(ledger: Ledger, setting: str, program: Program, call: Call, *, structured: bool = True) -> bool:
    outcome = of_tool(program.do("call", name=call.tool, arguments=dict(call.arguments)), structured=structured)
    return ledger.note(setting, f"tools/call {call.request}", outcome, call.expected)


def status(ledger: Ledger, setting: str, site: Site, expected: int) -> None:
    """Check the status of the last answer: not every client tells it."""
    ledger.note(setting, f"the status {expected}", Outcome(value=site.log()[0]["status"]), Expected(answer=expected))


def close(program: Program) -> None:
    program.do("close")


def under(ledger: Ledger, program: Program, site: Site, setting: Setting) -> None:
    """Make all calls under one setting."""
    site.begin(**setting.switches)
    headers = setting.headers or {"Authorization": f"Bearer {Attempt(site.url).link()['access_token']}"}
    outcome = program.do("connect", url=f"{site.url}/", headers=dict(headers))
    expected = Expected(answer=None if setting.refusal else {}, refusal=setting.refusal)
    if ledger.note(setting.name, "initialize", outcome, expected):
        agreed = Outcome(value=outcome.value["version"] in setting.versions)
        ledger.note(setting.name, "the version agreed on", agreed, Expected(answer=True))
        names = program.do("list")
        has = Outcome(value=HERE in (names.value or ()) and len(names.value) == len(set(names.value)))
        ledger.note(setting.name, "tools/list", names if names.error else has, Expected(answer=True))
        structured = setting.switches.get("mcp_results") != "text"
        for each in CALLS:
            call(ledger, setting.name, program, each, structured=structured)
    elif setting.refusal:
        status(ledger, setting.name, site, 401)
    close(program)


def sessions_that_end(ledger: Ledger, program: Program, site: Site) -> None:
    """A session that is gone: the client may begin a new one, or say so."""
    for status in (404, 400):
        switches = {"mcp_sessions": "required", "mcp_unknown_session": status}
        name = f"the session has ended ({status})"
        site.begin(**switches)
        if connect(ledger, name, program, site, KEY_PAIR):
            call(ledger, name, program, WHO)
            site.begin(**switches)
            call(ledger, name, program, WHO._replace(expected=Expected(answer=ACCOUNT.answer, refusal=ENDED)))
        close(program)


def tools_before_the_list(ledger: Ledger, program: Program, site: Site) -> None:
    """A tool before ``tools/list``. Some clients list by themselves."""
    name = "tools want to be listed first"
    site.begin(mcp_list_first=True)
    if connect(ledger, name, program, site, KEY_PAIR):
        call(ledger, name, program, WHO._replace(expected=Expected(answer=ACCOUNT.answer, refusal="Unknown tool")))
        program.do("list")
        call(ledger, name, program, WHO)
    close(program)


def streams_that_end(ledger: Ledger, program: Program, site: Site) -> None:
    name = "a GET stream has ended"
    site.begin(mcp_stream=0.2, mcp_sessions="required")
    if connect(ledger, name, program, site, KEY_PAIR):
        time.sleep(0.8)
        call(ledger, name, program, WHO)
    close(program)


def limits(ledger: Ledger, program: Program, site: Site) -> None:
    """Over the limit every call is a 429, or a result that says so."""
    for inside in (False, True):
        name = f"over the limit{', inside results' if inside else ''}"
        site.begin(mcp_errors_in_results=inside)
        if connect(ledger, name, program, site, KEY_PAIR):
            call(ledger, name, program, WHO)
            site.control("settings", rate_limit=1, rate_window=600)
            refused = Expected(refusal=f"429|Rate limit|{NO_WORDS}")
            call(ledger, name, program, WHO._replace(expected=refused))
            status(ledger, name, site, 200 if inside else 429)
        close(program)


def faults(ledger: Ledger, program: Program, site: Site) -> None:
    """A fault for each request, and none again: what came in between is never taken for an answer."""
    for kind in (kind for kind in FAULT_KINDS if kind != "none"):
        name = f"fault: {kind}"
        site.begin()
        if connect(ledger, name, program, site, KEY_PAIR):
            site.control("settings", fault=kind, fault_target="mcp", fault_seconds=0.2)
            expected = ACCOUNT if kind in DELAYS else Expected(refusal=ANY_WORDS)
            call(ledger, name, program, WHO._replace(expected=expected))
            site.control("settings", fault="none", fault_target="mcp")
        close(program)
        if connect(ledger, name, program, site, KEY_PAIR):
            call(ledger, name, program, WHO)
        close(program)


def the_whole_way(ledger: Ledger, program: Program, site: Site) -> None:
    """OAuth from a 401 on: both kinds of metadata, registration, consent, code with PKCE, refresh, and a new consent at the end."""
    switches: Mapping[str, dict[str, Any]] = {
        "OAuth from the 401 on": {},
        "OAuth, without expires_in": {"send_expires_in": False},
        "OAuth, access tokens of one second": {"access_token_lifetime": 1},
        "OAuth, sessions required": {"mcp_sessions": "required"},
    }
    for name, changed in switches.items():
        site.begin(**changed)
        outcome = program.do("connect", url=f"{site.url}/", headers={}, redirect_uri=REDIRECT_URI)
        if ledger.note(name, "401, registration, consent, code, initialize", outcome, Expected(answer={})):
            issuer = Outcome(value=program.person.callbacks[-1].get("iss"))
            ledger.note(name, "iss of the callback", issuer, Expected(answer=site.url))
            call(ledger, name, program, WHO)
            time.sleep(1.2 if changed.get("access_token_lifetime") else 0)
            call(ledger, name, program, WHO)
            site.control("revoke")
            again = Expected(answer=ACCOUNT.answer, refusal="401|Unauthorized|invalid_?grant")
            call(ledger, name, program, WHO._replace(expected=again, request=f"{WHO.request}, revoked by the customer"))
        close(program)


def another_issuer(ledger: Ledger, program: Program, site: Site) -> None:
    name = "OAuth, another issuer"
    site.begin(issuer="https://elsewhere.example")
    outcome = program.do("connect", url=f"{site.url}/", headers={}, redirect_uri=REDIRECT_URI)
    ledger.note(name, "401 and metadata", outcome, Expected(refusal=ANY_WORDS))
    close(program)


def check(client: Client, ledger: Ledger, program: Program, site: Site, wanted: str) -> None:
    """Run all checks of which the name matches ``wanted``, a regular expression."""
    for setting in SETTINGS:
        if re.search(wanted, setting.name):
            under(ledger, program, site, setting)
    others = [sessions_that_end, tools_before_the_list, streams_that_end, limits, faults]
    if "oauth" in client.can:
        others += [the_whole_way, another_issuer]
    for other in others:
        if re.search(wanted, other.__name__):
            other(ledger, program, site)
    site.note()
