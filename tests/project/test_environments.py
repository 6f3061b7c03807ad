"""tox's environments: which tests run in which, and of which the coverage is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache

import pytest

from tests.measured import LONG, MEASURED
from tests.support.servers import PROJECT

JOURNEYS = PROJECT / "tests" / "journeys"
OWN = "tests/project/test_environments.py"
MODULES = sorted(str(file.relative_to(PROJECT)) for file in (PROJECT / "tests").rglob("test_*.py"))


@cache
def configuration() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(PROJECT / "tox.ini")
    return parser


def environments() -> list[str]:
    """Return those that run without being asked for."""
    return configuration()["tox"]["env_list"].split()


def value(environment: str, name: str) -> list[str]:
    """Return the lines of a setting that are an environment's, with what they refer to filled in."""
    section = f"testenv:{environment}"
    own = configuration()[section if section in configuration() else "testenv"]
    text = own.get(name, configuration()["testenv"].get(name, "")).replace("\\\n", " ")
    while found := re.search(r"\{\[([\w:]+)\](\w+)\}", text):
        text = text.replace(found[0], configuration()[found[1]][found[2]].replace("\\\n", " "))
    lines = [re.fullmatch(r"(?:([\w,]+): )?(.*)", line.strip()) for line in text.splitlines()]
    factors = set(environment.split("-"))
    return [line[2] for line in lines if line and line[2] and (line[1] is None or factors & set(line[1].split(",")))]


def database(environment: str) -> str:
    """Return the database of an environment, where ``TEST_DATABASE`` says nothing else."""
    said = [line for line in value(environment, "set_env") if line.startswith("TEST_DATABASE")]
    return re.split(r"[ :]", said[-1].rstrip("}"))[-1]


def runs(environment: str) -> Iterator[list[str]]:
    """Yield the words of each command that runs tests, with those that stand there for arguments of one's own."""
    for command in value(environment, "commands"):
        words = re.sub(r"\{posargs:?(.*)\}", r"\1", command).replace('"', "").split()
        if "pytest" in words:
            yield words[words.index("pytest") + 1 :]


def is_under(module: str, paths: list[str]) -> bool:
    return any(module == path or module.startswith(f"{path}/") for path in paths)


def environments_of(module: str) -> set[str]:
    """Return the environments that run a module, or some of its tests."""
    found = set()
    for environment in environments():
        for words in runs(environment):
            left_out = [word.removeprefix("--ignore=") for word in words if word.startswith("--ignore=")]
            asked = [word.partition("::")[0] for word in words if word.startswith("tests")]
            if is_under(module, asked) and not is_under(module, left_out):
                found.add(environment)
    return found


def test_every_journey_runs_with_the_settings_of_cookiecutter_or_a_comment_says_why_not() -> None:
    environment = (PROJECT / "tox.ini").read_text().partition("[testenv:cookiecutter]")[2].partition("[testenv:")[0]
    files = [str(file.relative_to(PROJECT)) for file in JOURNEYS.rglob("test_*.py")]
    assert files
    assert [name for name in files if name not in environment] == []


def test_every_test_module_runs_somewhere() -> None:
    assert len(MODULES) > 100
    assert [module for module in MODULES if not environments_of(module)] == []


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "server_database"])
def test_tests_of_one_database_run_on_it(name: str) -> None:
    marked = [module for module in MODULES if f"pytest.mark.{name}" in (PROJECT / module).read_text() and module != OWN]
    wanted = {name} if name != "server_database" else {"postgresql", "mariadb"}
    on_it = {environment for environment in environments() if database(environment) in wanted}
    assert marked
    assert on_it
    assert [module for module in marked if not environments_of(module) & on_it] == []


@pytest.mark.parametrize("kind", ["race", "crashes", "rollbacks", "takeover", "spent_tokens"])
def test_races_crashes_and_rollbacks_run_on_every_database(kind: str) -> None:
    found = {database(environment) for environment in environments_of(f"tests/refreshing/test_{kind}.py")}
    assert found == {"sqlite", "postgresql", "mariadb"}


def test_nothing_is_named_that_is_not_there() -> None:
    named = {word for environment in environments() for words in runs(environment) for word in words}
    paths = {word.removeprefix("--ignore=").partition("::")[0] for word in named if "tests/" in word}
    paths |= {*LONG, *(name for names in MEASURED.values() for name in names)}
    assert len(paths) > 50
    assert sorted(path for path in paths if not (PROJECT / path).exists()) == []


def test_what_is_measured_is_what_the_gate_adds_up() -> None:
    measuring = {name for name in environments() if any("coverage run" in line for line in value(name, "commands"))}
    (gate,) = value("coverage", "commands")
    assert set(gate.split()[4:]) == measuring
    assert {database(name) for name in measuring} == set(MEASURED)
