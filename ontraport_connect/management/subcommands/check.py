"""``check``: diagnose whether this site can keep its links alive."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from itertools import zip_longest
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import staff
from ontraport_connect.management.asking_workers import ask_workers
from ontraport_connect.management.reports import Line, Progress, Report, counted, wrapped
from ontraport_connect.staff import Finding, Level, QueueState

HELP = "Check the settings, the endpoints, every stored secret, and whether refreshing keeps up."

SIGNS = {Level.OK: "ok", Level.WARNING: "WARN", Level.ERROR: "FAIL"}
STYLES = {Level.OK: "SUCCESS", Level.WARNING: "WARNING", Level.ERROR: "ERROR"}
INDENT = 6
LONGEST_NUMBER = 7


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--offline", action="store_true", help="call no server, and ask no worker")
    standard = staff.Thresholds()
    parser.add_argument(
        "--overdue",
        type=_minutes,
        default=standard.overdue,
        metavar="MINUTES",
        help="how long an account may be due before that is a warning (10)",
    )
    parser.add_argument(
        "--long-overdue",
        type=_minutes,
        default=standard.long_overdue,
        metavar="MINUTES",
        help="how long the oldest may be due before that is an error (60)",
    )
    parser.add_argument(
        "--needs-reconnect",
        type=_count,
        metavar="N",
        help="how many links may need a reconnect before that is a warning (any number)",
    )


def _minutes(text: str) -> timedelta:
    return timedelta(minutes=_count(text))


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return int(text)


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    findings: list[Finding] = []
    answers: list[QueueState] = []
    thresholds = staff.Thresholds(
        overdue=options["overdue"],
        long_overdue=options["long_overdue"],
        needs_reconnect=options["needs_reconnect"],
    )
    for subject, look in _subjects(thresholds, staff.nobody_to_ask if options["offline"] else _asking(answers)).items():
        if subject == "endpoints" and options["offline"]:
            continue
        if subject in staff.NEED_TABLES and _has_no_tables(findings):
            continue
        progress(f"Checking {staff.title_of(subject)}…")
        findings += look()
    errors = sum(finding.level == Level.ERROR for finding in findings)
    warnings = sum(finding.level == Level.WARNING for finding in findings)
    return Report(
        lines=[*_lines(findings), *([] if errors else [_verdict(warnings)])],
        data={
            "errors": errors,
            "warnings": warnings,
            "numbers": {} if _has_no_tables(findings) else staff.numbers(thresholds),
            "queue": asdict(answers[0]) if answers else None,
            "findings": [finding.as_dict() for finding in findings],
        },
        problem=f"{counted(errors, 'problem')} found." if errors else "",
    )


def _asking(answers: list[QueueState]) -> Callable[[], QueueState | None]:
    """Return a function that asks the workers, and keeps what they say among the ``answers``."""

    def ask() -> QueueState | None:
        answer = ask_workers()
        answers.extend([] if answer is None else [answer])
        return answer

    return ask


def _subjects(
    thresholds: staff.Thresholds, look: Callable[[], QueueState | None]
) -> Mapping[str, Callable[[], Iterator[Finding]]]:
    return {
        **staff.SUBJECTS,
        "heartbeat": partial(staff.check_heartbeat, look),
        "overdue": partial(staff.check_overdue, thresholds),
        "reconnect": partial(staff.check_needs_reconnect, thresholds),
    }


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
