"""What ``manage.py ontraport`` says of a copied database: the long explanation, and that once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.command import Run
from tests.support.copies import mark_as_copied, new_installation

pytestmark = pytest.mark.django_db(transaction=True)

LONG = "Its links belong to the original"
SHORT = "Nothing was sent: this database looks like a copy (see above, or `manage.py ontraport check`)."


@pytest.fixture(autouse=True)
def copied() -> Iterator[None]:
    mark_as_copied()
    with new_installation():
        yield


@contextmanager
def logging_to(*handlers: logging.Handler) -> Iterator[logging.Logger]:
    """The app's logger with these handlers only: pytest adds its own, wherever a logger stands, when a test begins."""
    logger = logging.getLogger("ontraport_connect")
    before, logger.handlers, logger.propagate = logger.handlers, list(handlers), False
    try:
        yield logger
    finally:
        logger.handlers, logger.propagate, logger.disabled = before, True, False


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_what_logging_has_printed_is_not_repeated(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with logging_to():
        run = Run("refresh", "--all", *arguments)
    assert (run.status, run.problem) == (1, SHORT)
    assert LONG in capsys.readouterr().err
    if arguments:
        assert LONG in run.data["message"]


def test_what_a_handler_prints_on_the_terminal_is_not_repeated() -> None:
    handler = logging.StreamHandler(sys.stderr)
    with logging_to(handler):
        assert Run("refresh", "--all").problem == SHORT
        handler.addFilter(lambda record: False)
        assert LONG in Run("refresh", "--all").problem


def test_what_goes_to_another_place_or_nowhere_is_said_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LONG in Run("refresh", "--all").problem  # pytest's handlers keep it to themselves
    with logging_to(logging.NullHandler()):
        assert LONG in Run("refresh", "--all").problem
    with logging_to() as logger:
        logger.disabled = True
        assert LONG in Run("refresh", "--all").problem
    monkeypatch.setattr(logging, "lastResort", None)
    with logging_to():
        assert LONG in Run("refresh", "--all").problem
