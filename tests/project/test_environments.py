"""tox's environments: which journeys run in which."""

from __future__ import annotations

from tests.support.servers import PROJECT

JOURNEYS = PROJECT / "tests" / "journeys"


def test_every_journey_runs_with_the_settings_of_cookiecutter_or_a_comment_says_why_not() -> None:
    environment = (PROJECT / "tox.ini").read_text().partition("[testenv:cookiecutter]")[2].partition("[testenv:")[0]
    files = [str(file.relative_to(PROJECT)) for file in JOURNEYS.rglob("test_*.py")]
    assert files
    assert [name for name in files if name not in environment] == []
