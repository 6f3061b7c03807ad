"""``check``: diagnose whether this site can keep its links alive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import staff
from ontraport_connect.management.reports import Line, Progress, Report, counted, wrapped
from ontraport_connect.staff import Finding, Level

HELP = "Check the settings, the endpoints, every stored secret, and whether refreshing keeps up."

SIGNS = {Level.OK: "ok", Level.WARNING: "WARN", Level.ERROR: "FAIL"}
STYLES = {Level.OK: "SUCCESS", Level.WARNING: "WARNING", Level.ERROR: "ERROR"}
INDENT = 6


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--offline", action="store_true", help="call no server")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    findings: list[Finding] = []
    for subject, look in staff.SUBJECTS.items():
        if subject == "endpoints" and options["offline"]:
            continue
        if subject in staff.NEED_TABLES and _has_no_tables(findings):
            continue
        progress(f"Checking {staff.title_of(subject)} …")
        findings += look()
    errors = sum(finding.level == Level.ERROR for finding in findings)
    warnings = sum(finding.level == Level.WARNING for finding in findings)
    return Report(
        lines=[*_lines(findings), *([] if errors else [_verdict(warnings)])],
        data={"errors": errors, "warnings": warnings, "findings": [finding.as_dict() for finding in findings]},
        problem=f"{counted(errors, 'problem')} found." if errors else "",
    )


def _has_no_tables(findings: Sequence[Finding]) -> bool:
    return any(finding.subject == "database" and finding.level == Level.ERROR for finding in findings)


def _verdict(warnings: int) -> str:
    return f"No problems found, {counted(warnings, 'warning')}." if warnings else "No problems found."


def _lines(findings: Sequence[Finding]) -> Iterator[str | Line]:
    """Yield a line a finding, followed by its hint unless the next finding repeats it."""
    for finding, following in zip_longest(findings, findings[1:]):
        text = f"{SIGNS[finding.level]:<{INDENT}}{staff.title_of(finding.subject)}: {finding.text}"
        yield from (Line(text=line, style=STYLES[finding.level]) for line in wrapped(text, INDENT))
        if finding.hint and not (following and following.hint == finding.hint):
            yield from wrapped(" " * INDENT + finding.hint, INDENT)
