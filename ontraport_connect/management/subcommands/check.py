"""``check``: diagnose whether this site can keep its links alive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from ontraport_connect import staff
from ontraport_connect.management.reports import Progress, Report
from ontraport_connect.staff import Finding, Level

HELP = "Look at the configuration, the endpoints, every stored secret, holds, and whether beat and workers are alive."

SIGNS = {Level.OK: "ok  ", Level.WARNING: "WARN", Level.ERROR: "FAIL"}


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--offline", action="store_true", help="call no server")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    findings = []
    for subject, look in staff.SUBJECTS.items():
        if subject == "endpoints" and options["offline"]:
            continue
        progress(f"Checking {subject} …")
        findings += list(look())
    errors = sum(finding.level == Level.ERROR for finding in findings)
    warnings = sum(finding.level == Level.WARNING for finding in findings)
    return Report(
        lines=[line for finding in findings for line in _lines(finding)],
        data={"errors": errors, "warnings": warnings, "findings": [finding.as_dict() for finding in findings]},
        problem=f"{errors} of {len(findings)} findings are errors." if errors else "",
    )


def _lines(finding: Finding) -> list[str]:
    line = f"{SIGNS[finding.level]}  {finding.subject}: {finding.text}"
    return [line, f"      {finding.hint}"] if finding.hint else [line]
