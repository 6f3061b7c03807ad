"""The table of docs/security.md names tests that exist, and every behaviour in it has one."""

from __future__ import annotations

import re

import pytest

from tests.planted import BUGS
from tests.support.servers import PROJECT

PAGE = (PROJECT / "docs" / "security.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for section in PAGE.split("\n## ")
    if "| behaviour | proven by |" in section
    for line in section.splitlines()
    if line.startswith("| ") and not line.startswith("| behaviour")
]
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)


def exists(file: str, name: str) -> bool:
    path = PROJECT / "tests" / file
    return path.exists() and re.search(rf"^(?:async )?def {name}\(", path.read_text(), re.MULTILINE) is not None


def test_every_behaviour_has_a_test() -> None:
    assert len(ROWS) > 60
    assert [row for row in ROWS if len(row) != 2 or "::" not in row[1]] == []


def test_every_test_that_is_named_exists() -> None:
    assert [f"{file}::{name}" for file, name in NAMED if not exists(file, name)] == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_can_still_be_planted_and_names_a_test_that_exists(bug: object) -> None:
    module, guard, test = (getattr(bug, name) for name in ("module", "guard", "test"))
    assert (PROJECT / "ontraport_connect" / f"{module}.py").read_text().count(guard) == 1
    file, name = re.sub(r"\[.*", "", test).split("::")
    assert exists(file, name)


def test_the_page_tells_how_many_bugs_are_planted() -> None:
    assert f"{len(BUGS)} in all" in PAGE
