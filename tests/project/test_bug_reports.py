"""The table of tests/journeys/README.md: no bug report is left out, each has a test, and every test that is named exists."""

from __future__ import annotations

import re

from tests.project.test_security_table import exists
from tests.support.servers import PROJECT

PAGE = (PROJECT / "tests" / "journeys" / "README.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
REPORTS = """
F1 F2 F3 F4 F5 F6 F7 F8 F9 F11a F11b F12 F13 F14 F15 F16 F17 F19 F21 F22 F23 F24 F26 F28
H1 H2 H3 H4 H5 H6 H7 H8 H9 H10 H11 H12
S1 S2 S3 S4 S5 S6 S7 S8 S9 S10
"""


def test_no_report_is_left_out() -> None:
    assert [row[0] for row in ROWS] == ["report", *REPORTS.split()]


def test_every_report_has_a_test_that_exists() -> None:
    for report, _, proof in ROWS[1:]:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", proof)
        assert named, report
        assert len(named) == proof.count("`") / 2, report
        assert [f"{file}::{name}" for file, name in named if not exists(file, name)] == []
