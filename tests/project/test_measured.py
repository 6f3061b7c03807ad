"""Of which tests the coverage is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from coverage import CoverageData

from tests.measured import is_measured, measured_first, stop_measuring
from tests.support.servers import PROJECT, foreign_environ

SCRIPT = """
import os
from tests.measured import stop_measuring
assert "COVERAGE_PROCESS_CONFIG" in os.environ
stop_measuring()
assert "COVERAGE_PROCESS_CONFIG" not in os.environ
"""


def test_journeys_and_races_run_and_are_not_measured() -> None:
    assert is_measured("tests/pages/test_views.py", "sqlite")
    assert not is_measured("tests/journeys/test_switches.py", "sqlite")
    assert not is_measured("tests/refreshing/test_race.py", "postgresql")


def test_on_a_server_only_what_is_its_own_is_measured() -> None:
    assert is_measured("tests/refreshing/test_group_saves.py", "postgresql")
    assert not is_measured("tests/pages/test_views.py", "postgresql")


class Item:
    """What is looked at of a test."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def test_what_is_measured_comes_first_and_the_order_stays() -> None:
    names = ["tests/project/a.py", "tests/pages/b.py", "tests/journeys/faults/c.py", "tests/models/d.py"]
    found = measured_first([Item(name) for name in names], "sqlite")  # type: ignore[misc]
    assert [item.nodeid for item in found] == [names[1], names[3], names[0], names[2]]


def test_nothing_is_measured_after_the_end_here_or_in_a_process_that_is_started(tmp_path: Path) -> None:
    script, file = tmp_path / "script.py", tmp_path / "measured"
    script.write_text(SCRIPT)
    options = ["--branch", f"--source={tmp_path}", f"--data-file={file}"]
    environ = {**foreign_environ(), "PYTHONPATH": str(PROJECT), "COVERAGE_RCFILE": str(PROJECT / "pyproject.toml")}
    subprocess.run([sys.executable, "-m", "coverage", "run", *options, script], check=True, cwd=tmp_path, env=environ)
    (measured,) = tmp_path.glob("measured*")
    data = CoverageData(str(measured))
    data.read()
    (name,) = data.measured_files()
    assert {line for arc in data.arcs(name) or [] for line in arc if line > 0} == {2, 3, 4, 5}


def test_where_nothing_is_measured_there_is_nothing_to_end() -> None:
    stop_measuring()
