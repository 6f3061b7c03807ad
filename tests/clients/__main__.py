"""``python -m tests.clients``: clients from PyPI and npm against the stand-in, and the table of what was asked and answered.

Ends with 1 if any answer was wrong: another value than the records hold, a success where a refusal is due, or a refusal without its words.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.clients import mcp_checks, oauth_checks, rest_checks
from tests.clients.installed import CLIENTS, Client, installed
from tests.clients.judging import REFUSED, RIGHT, WRONG, Ledger, Row
from tests.clients.running import Site, running, standing_in

CHECKS = {"mcp": mcp_checks.check, "oauth": oauth_checks.check, "rest": rest_checks.check}
OVER_HTTPS = {"mcp": "as it starts", "oauth": "whole_way", "rest": "exchanges"}
"""What is done once more over https, with a private CA."""


def run(clients: Mapping[Client, str], site: Site, secure: Site, wanted: str) -> list[Ledger]:
    """Run clients, which are given with their versions, with the checks that ``wanted`` matches."""
    ledgers = []
    for client, there in clients.items():
        ledger = Ledger(client=f"{client.name} {there}")
        with running(client, site) as program:
            CHECKS[client.kind](client, ledger, program, site, wanted)
        over_https = Ledger(client=ledger.client)
        with running(client, secure) as program:
            first = OVER_HTTPS[client.kind] if wanted in {"", "https"} else ""
            CHECKS[client.kind](client, over_https, program, secure, f"^{first}$")
        ledger.rows += [Row(**{**asdict(row), "setting": f"{row.setting}, https"}) for row in over_https.rows]
        ledgers.append(ledger)
        print(f"{ledger.client}: {len(ledger.rows)} requests", file=sys.stderr)
    return ledgers


def table(rows: Iterable[Row]) -> str:
    """Return a line for each request: how often it was made, what was right, refused and wrong, and one answer."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.request, []).append(row)
    lines = ["| request | made | right | refused in words | wrong | such as |", "|---|---|---|---|---|---|"]
    for request, made in found.items():
        counts = Counter(row.verdict for row in made)
        verdicts = " | ".join(str(counts[verdict]) for verdict in (RIGHT, REFUSED, WRONG))
        lines.append(f"| {request} | {len(made)} | {verdicts} | {made[0].answer[:90]} |")
    return "\n".join(lines)


def by_client(ledgers: Iterable[Ledger]) -> str:
    lines = ["| client | settings | requests | right | refused in words | wrong |", "|---|---|---|---|---|---|"]
    for ledger in ledgers:
        counts = Counter(row.verdict for row in ledger.rows)
        verdicts = " | ".join(str(counts[verdict]) for verdict in (RIGHT, REFUSED, WRONG))
        lines.append(f"| {ledger.client} | {len({r.setting for r in ledger.rows})} | {len(ledger.rows)} | {verdicts} |")
    return "\n".join(lines)


def on_the_wire(wire: Counter[tuple[str, str, int]]) -> str:
    lines = ["| on the wire | status | times |", "|---|---|---|"]
    lines += [
        f"| {method} {path} | {status or 'none'} | {times} |" for (method, path, status), times in sorted(wire.items())
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("--client", default="", help="only clients whose name this regular expression matches")
    parser.add_argument("--check", default="", help="only checks and settings that this regular expression matches")
    parser.add_argument("--all", action="store_true", help="print each row")
    parser.add_argument("--json", type=Path, default=Path("clients.json"), help="where each row is written")
    options = parser.parse_args(argv)
    wanted = [client for client in CLIENTS if re.search(options.client, client.name, re.IGNORECASE)]
    there = {client: version for client, version in installed() if client in wanted}
    for missing in (client.name for client in wanted if client not in there):
        print(f"Not installed, and left out: {missing}", file=sys.stderr)
    if not there:
        print("No client to run.")
        return 1
    with standing_in() as site, standing_in("--https") as secure:
        ledgers = run(there, site, secure, options.check)
    rows = [row for ledger in ledgers for row in ledger.rows]
    wire = site.wire + secure.wire
    for part in (table(rows), by_client(ledgers), on_the_wire(wire)):
        print(part, end="\n\n")
    wrong = [row for row in rows if row.verdict == WRONG]
    for row in rows if options.all else wrong:
        print(f"{row.verdict}: {row.client}, {row.setting}: {row.request} -> {row.answer[:300]}")
    made = {
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "rows": [asdict(r) for r in rows],
    }
    options.json.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(rows)} requests of {len(ledgers)} clients: {len(wrong)} answered wrongly.")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
