"""What a subcommand says when it has ended, to people and to machines, and how it goes along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from ontraport_connect import exceptions

FAILED = 1
USAGE = 2
TRY_LATER = 75
"""The exit status of sysexits.h for a failure that passes by itself."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """``lines`` for people, ``data`` for machines; ``problem`` says in a sentence what is wrong, empty when all is well."""

    lines: Sequence[str] = field(default_factory=list)
    data: Any = None
    problem: str = ""
    status: int = FAILED


def status_of(error: exceptions.OntraportError) -> int:
    return TRY_LATER if isinstance(error, exceptions.OntraportUnavailable) else FAILED


def as_command_error(error: exceptions.OntraportError) -> CommandError:
    return CommandError(str(error), returncode=status_of(error))


def progress_on(stream: OutputWrapper) -> Progress:
    """Return what writes progress: one line that is overwritten on a terminal, or else a line each time."""

    def write(text: str) -> None:
        if stream.isatty():
            stream.write(f"\r{text}\x1b[K", ending="")
        else:
            stream.write(text)

    return write


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows, the first being the head, as lines with columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
