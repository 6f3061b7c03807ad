"""The arguments of ``manage.py ontraport``: where they may stand, and what is said of wrong ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from ontraport_connect.management.commands.ontraport import SUBCOMMANDS
from tests.support.command import Run
from tests.support.servers import PROJECT

pytestmark = pytest.mark.django_db(transaction=True)

UID = "6f0b1a52-9f5d-4a3b-9d8e-1f1f2f3f4f5f"
Environ = Callable[..., dict[str, str]]


def manage(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` of the example, with its own choice of settings."""
    environ = {name: value for name, value in environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "manage.py", "ontraport", *arguments],
        check=False,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env=environ,
    )


@pytest.mark.parametrize(
    "more",
    [
        ["--settings", "tests.settings", "--no-color", "-v", "0"],
        ["--settings=tests.settings", "--pythonpath", ".", "--verbosity", "3", "--traceback", "--force-color"],
    ],
)
def test_options_that_every_command_of_django_takes_may_stand_last(child_environ: Environ, more: list[str]) -> None:
    run = manage(child_environ(), "accounts", *more)
    assert (run.returncode, run.stdout) == (0, "There are no accounts.\n"), run.stderr


def test_they_may_stand_first_as_before(child_environ: Environ) -> None:
    run = manage(child_environ(), "--settings", "tests.settings", "-v", "2", "accounts")
    assert (run.returncode, run.stdout) == (0, "There are no accounts.\n"), run.stderr


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_help_of_a_subcommand_does_not_list_them(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Run(subcommand, "--help")
    said = capsys.readouterr().out
    assert "--json" in said
    for name in ("--settings", "--pythonpath", "--verbosity", "--traceback", "--no-color", "--force-color"):
        assert name not in said


def test_wrong_uid_is_told_where_the_right_one_is_found() -> None:
    run = Run("disconnect", "abcdef")
    assert run.problem == (
        "Error: argument UID: invalid UUID value: 'abcdef' (`manage.py ontraport accounts` lists them)"
    )


@pytest.mark.parametrize("arguments", [["--all", "--reconsider"], [UID, "--all"], [UID, "--reconsider"]])
def test_refresh_takes_one_choice_and_shows_that(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "not allowed with argument" in Run("refresh", *arguments).problem
    with pytest.raises(SystemExit):
        Run("refresh", "--help")
    assert "[-h] [--json] (UID | --all | --reconsider)" in " ".join(capsys.readouterr().out.split())
