"""Which tests the coverage is measured of. To measure costs half as much again as to run, and the same lines are reached again and again.

In each environment that measures, these run first; then measuring ends, in this process and in those that tests start. The gate
(``tests/coverage_gate.py``) adds up what the environments have measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import pytest

LONG = (
    "tests/journeys/faults/",
    "tests/journeys/test_canaries.py",
    "tests/journeys/test_copied_database.py",
    "tests/journeys/test_lifecycle.py",
    "tests/journeys/test_one_state.py",
    "tests/journeys/test_switches.py",
    "tests/pages/test_callback_input.py",
    "tests/project/",
    "tests/refreshing/test_crashes.py",
    "tests/refreshing/test_endurance.py",
    "tests/refreshing/test_fleet.py",
    "tests/refreshing/test_race.py",
    "tests/refreshing/test_red_team.py",
)
"""Whole ways, races and processes that are killed: they say whether it works, and shorter tests reach the same lines."""

MEASURED: Mapping[str, tuple[str, ...]] = {
    "sqlite": ("tests/",),
    "postgresql": (
        "tests/linking/test_nothing_is_revoked_meanwhile.py",
        "tests/models/",
        "tests/protocol/",
        "tests/refreshing/",
        "tests/staff/test_key_rotation.py",
        "tests/upgrades/",
        "tests/using/test_rest_api.py",
    ),
    "mariadb": ("tests/models/", "tests/refreshing/"),
}
"""By database, the beginnings of the names of modules: on a server, what goes another way there than on SQLite."""


def is_measured(module: str, database: str) -> bool:
    """Tell whether the tests of a module (``tests/models/test_clock.py``) are measured on this database."""
    return module.startswith(MEASURED[database]) and not module.startswith(LONG)


def measured_first(items: list[pytest.Item], database: str) -> list[pytest.Item]:
    """Return the tests in the order in which they came, but for those that are not measured, which come last."""
    return sorted(items, key=lambda item: not is_measured(item.nodeid, database))


def stop_measuring() -> None:
    """End what ``coverage run`` has begun, here and in processes that are started from now on. Does nothing where nothing is measured."""
    coverage: Any = sys.modules.get("coverage")  # not every environment has it
    measuring = None if coverage is None else coverage.Coverage.current()
    if measuring is not None:
        measuring.stop()
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            os.environ.pop(name, None)
