"""``python -m tests.benchmarks.peers``: the same hostile token responses for this app and for the libraries that people use today.

Each answer comes from a real server over a real socket to a process started for it alone. Refused cleanly means: an error that the library
documents or catches itself, within ``DEADLINE``, in at most ``MOST`` bytes more than a good answer takes, and no client secret sent to
another host. Where that leaves room, it is decided for the library. `tests/benchmarks/clients` shows how each is called.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from typing import Any

from tests.benchmarks.hostile_answers import (
    CLIENT_ID,
    CLIENT_SECRET,
    CODE,
    CORPUS,
    REDIRECT_URI,
    VERIFIER,
    HostileAnswer,
    Verdict,
    secret_left_for_elsewhere,
)
from tests.support.hostile_server import HostileServer, hostile_server
from tests.support.servers import PROJECT

DEADLINE = 12.0
"""Seconds for one attempt, the start of the process included. Each library was told to wait for 3."""

MOST = 64 * 2**20
BOMB = "size: gzip of 1 GB"
ELSEWHERE = "redirect: 307 to another host"
GOOD = "as it should be"
KILOBYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of ``ru_maxrss`` in bytes."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    version: str
    command: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one answer: ``accepted``, ``refused``, ``crashed``, ``hung``, ``memory`` or ``secret sent to another host``."""

    kind: str
    error: str
    memory: int

    def __str__(self) -> str:
        if self.kind == "memory":
            return f"memory {megabytes(self.memory)}"
        return f"{self.kind} {self.error}".strip()


def megabytes(size: int) -> str:
    if size < 10**6:
        return "under 1 MB"
    return f"{size / 10**9:.1f} GB" if size >= 10**9 else f"{size / 10**6:.0f} MB"


def find_peers() -> tuple[list[Peer], list[str]]:
    """Return the peers that can be measured here, and the names of those that are not installed."""
    modules = {
        "this app": ("this_app", "django-ontraport-connect"),
        "django-allauth": ("allauth", "django-allauth"),
        "social-auth-core": ("social_auth_core", "social-auth-core"),
        "Authlib": ("authlib", "Authlib"),
        "requests-oauthlib": ("requests_oauthlib", "requests-oauthlib"),
    }
    found, missing = [], []
    for name, (module, distribution) in modules.items():
        try:
            command = (sys.executable, "-m", f"tests.benchmarks.clients.{module}")
            found.append(Peer(name=name, version=version(distribution), command=command))
        except PackageNotFoundError:
            missing.append(name)
    node, package = which("node"), Path(os.environ.get("OAUTH4WEBAPI", "oauth4webapi")) / "package.json"
    if node and package.exists():
        script = Path(__file__).parent / "clients" / "oauth4webapi.mjs"
        there = json.loads(package.read_text())["version"]
        found.append(Peer(name="oauth4webapi", version=there, command=(node, str(script))))
    else:
        missing.append("oauth4webapi")
    return found, missing


def run(peer: Peer, *words: str) -> Outcome:
    """Run one attempt in a process of its own, and end it after ``DEADLINE``."""
    known = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "code": CODE,
        "verifier": VERIFIER,
        "redirect_uri": REDIRECT_URI,
    }
    environ = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_DATABASE": "sqlite",
        "PEER": json.dumps(known),
    }
    process = subprocess.Popen(
        [*peer.command, *words], cwd=PROJECT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    timer = threading.Timer(DEADLINE, process.kill)
    timer.start()
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    in_time = timer.is_alive()
    timer.cancel()
    kind, error = json.loads(line) if line else ("crashed" if in_time else "hung", "")
    return Outcome(kind=kind, error=error, memory=usage.ru_maxrss * KILOBYTES)


def attempt(server: HostileServer, peer: Peer, hostile: HostileAnswer, usual: int) -> Outcome:
    """Return what a peer does with an answer. ``usual`` is the memory that a good answer takes."""
    server.behaviour = hostile.behaviour
    server.requests.clear()
    outcome = run(peer, "exchange", f"{server.url}/token")
    memory = max(0, outcome.memory - usual)
    kind = outcome.kind
    if usual and memory > MOST:
        kind = "memory"
    if secret_left_for_elsewhere(server):
        kind = "secret sent to another host"
    return Outcome(kind=kind, error=outcome.error, memory=memory)


def compares_issuer(server: HostileServer, peer: Peer) -> bool:
    """Return whether the code goes to the server when the callback has its ``iss``, and stays here with that of another (RFC 9207)."""

    def sent(iss: str) -> bool:
        server.behaviour = next(hostile.behaviour for hostile in CORPUS if hostile.name == GOOD)
        server.requests.clear()
        run(peer, "callback", f"{server.url}/token", server.url, iss)
        return any(request.startswith(b"POST /token ") for request in server.requests)

    if not sent(server.url):
        raise RuntimeError(f"{peer.name} does not exchange a code whose issuer is right")
    return not sent("https://attacker.example")


def measure(server: HostileServer, peer: Peer) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    good = next(hostile for hostile in CORPUS if hostile.name == GOOD)
    usual = attempt(server, peer, good, 0).memory
    for hostile in CORPUS:
        outcomes[hostile.name] = attempt(server, peer, hostile, usual)
    return outcomes


def good_of(outcomes: Mapping[str, Outcome], verdict: Verdict) -> str:
    """Return how many answers of a verdict ended as they should, and of how many."""
    wanted = {Verdict.REFUSE: {"refused"}, Verdict.EITHER: {"refused", "accepted"}, Verdict.ACCEPT: {"accepted"}}
    chosen = [outcomes[hostile.name] for hostile in CORPUS if hostile.verdict is verdict]
    return f"{sum(outcome.kind in wanted[verdict] for outcome in chosen)} of {len(chosen)}"


def faults(outcomes: Mapping[str, Outcome], kind: str) -> int:
    """Return how many of the answers that a client should refuse ended in this outcome instead."""
    return sum(outcomes[hostile.name].kind == kind for hostile in CORPUS if hostile.verdict is Verdict.REFUSE)


def facts(peer: Peer, outcomes: Mapping[str, Outcome], *, issuer: bool) -> dict[str, str]:
    """Return the column of a peer, row by row."""
    elsewhere = outcomes[ELSEWHERE].kind == "secret sent to another host"
    return {
        "version": peer.version,
        "hostile answers refused cleanly": good_of(outcomes, Verdict.REFUSE),
        "… taken": str(faults(outcomes, "accepted")),
        "… an error of no documented kind": str(faults(outcomes, "crashed")),
        f"… still waiting after {DEADLINE:.0f} s": str(faults(outcomes, "hung")),
        f"… more than {MOST // 2**20} MB of memory": str(faults(outcomes, "memory")),
        "… secret sent to another host": str(faults(outcomes, "secret sent to another host")),
        "oddities borne": good_of(outcomes, Verdict.EITHER),
        "right answers taken": good_of(outcomes, Verdict.ACCEPT),
        "`iss` of the callback compared (RFC 9207)": "yes" if issuer else "no",
        "client secret carried along a 307": "yes" if elsewhere else "no",
        "memory for 1 MB of gzip that holds 1 GB": megabytes(outcomes[BOMB].memory),
    }


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as Markdown that is readable as plain text too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("peers", nargs="*", help="names as in the table; all without a name")
    parser.add_argument("--json", type=Path, default=Path("peers.json"), help="where everything is written")
    parser.add_argument("--verbose", action="store_true", help="print what each made of each answer")
    arguments = parser.parse_args()
    found, missing = find_peers()
    chosen = [peer for peer in found if not arguments.peers or peer.name in arguments.peers]
    if missing:
        print(f"Not installed, and left out: {', '.join(missing)}.", file=sys.stderr)
    results: dict[str, dict[str, Outcome]] = {}
    columns: dict[str, dict[str, str]] = {}
    with hostile_server() as server:
        for peer in chosen:
            print(f"{peer.name} {peer.version} …", file=sys.stderr, flush=True)
            results[peer.name] = measure(server, peer)
            columns[peer.name] = facts(peer, results[peer.name], issuer=compares_issuer(server, peer))
    names = list(columns)
    print(table([["", *names], *([row, *(columns[name][row] for name in names)] for row in columns[names[0]])]))
    if arguments.verbose:
        matrix = [
            [hostile.verdict, hostile.name, *(str(results[name][hostile.name]) for name in names)] for hostile in CORPUS
        ]
        print("\n" + table([["should", "answer", *names], *matrix]))
    arguments.json.write_text(json.dumps(report(columns, results), indent=2) + "\n")


def report(columns: Mapping[str, Mapping[str, str]], results: Mapping[str, Mapping[str, Outcome]]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in ("oauthlib", "requests", "urllib3")},
        "peers": columns,
        "answers": [
            {
                "name": hostile.name,
                "verdict": hostile.verdict,
                "rule": hostile.rule,
                **{name: str(outcomes[hostile.name]) for name, outcomes in results.items()},
            }
            for hostile in CORPUS
        ],
    }


if __name__ == "__main__":
    main()
