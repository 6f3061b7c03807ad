"""The result of a subcommand, for people and for machines, and its progress display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from ontraport_connect import exceptions

FAILED = 1
USAGE = 2
TRY_LATER = 75
"""EX_TEMPFAIL of sysexits.h: a temporary failure."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """``lines`` for people, ``data`` for ``--json``. ``problem`` is a sentence, or empty on success; ``status`` is its exit status."""

    lines: Sequence[str] = field(default_factory=list)
    data: Any = None
    problem: str = ""
    status: int = FAILED


def status_of(error: exceptions.OntraportError) -> int:
    return TRY_LATER if isinstance(error, exceptions.OntraportUnavailable) else FAILED


def as_command_error(error: exceptions.OntraportError) -> CommandError:
    return CommandError(str(error), returncode=status_of(error))


def progress_on(stream: OutputWrapper) -> Progress:
    """Return a function that writes progress: it overwrites one line on a terminal, and writes a line each time elsewhere."""

    def write(text: str) -> None:
        if stream.isatty():
            stream.write(f"\r{text}\x1b[K", ending="")
        else:
            stream.write(text)

    return write


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows, the first being the header, as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
