"""The result of a subcommand, for people and for machines, and its progress display."""

from __future__ import annotations

import logging
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from ontraport_connect import exceptions, refreshing
from ontraport_connect.models import aware

FAILED = 1
USAGE = 2
TRY_LATER = 75
"""EX_TEMPFAIL of sysexits.h: a temporary failure."""

WIDTH = 80

Progress = Callable[[str], None]

WORDS: Mapping[str, str] = {
    "refreshed": "refreshed",
    "accepted": "accepted",
    "key_refused": "refused by Ontraport",
    "invalid_grant": "must be reconnected",
    "no_refresh_token": "must be reconnected",
    "rate_limited": "told to slow down",
    "invalid_client": "failed on this site's credentials",
    "unauthorized_client": "failed on this site's credentials",
    "connection": "could not reach Ontraport",
    "timeout": "could not reach Ontraport",
    "tls": "could not reach Ontraport",
    "cut": "could not reach Ontraport",
    "nonsense": "got no usable answer from Ontraport",
    "too_large": "got no usable answer from Ontraport",
    "locked": "held by somebody else",
    "unsaved": "could not be saved",
    "secret_unreadable": "have an unreadable secret",
}
"""What happened to accounts, by the code of the outcome."""

UNREACHABLE = {"could not reach Ontraport", "got no usable answer from Ontraport"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of output in one of Django's styles (``SUCCESS``, ``WARNING``, ``ERROR``)."""

    text: str
    style: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """``lines`` for people, ``data`` for ``--json``. ``problem`` is a sentence, or empty on success; ``status`` is its exit status."""

    lines: Sequence[str | Line] = field(default_factory=list)
    data: Any = None
    problem: str = ""
    status: int = FAILED


def status_of(error: exceptions.OntraportError) -> int:
    return TRY_LATER if isinstance(error, exceptions.OntraportUnavailable) else FAILED


LOOKS_LIKE_A_COPY = "Nothing was sent: this database looks like a copy (see above, or `manage.py ontraport check`)."


def as_command_error(error: exceptions.OntraportError) -> CommandError:
    """Return the error as the last line of the output. What logging has just printed above it is not repeated."""
    if error.code == refreshing.COPIED and _is_printed_by_logging(str(error)):
        return CommandError(LOOKS_LIKE_A_COPY, returncode=status_of(error))
    hint = " The owner needs to reconnect it on the site." if isinstance(error, exceptions.ReconnectRequired) else ""
    return CommandError(f"{error}{hint}", returncode=status_of(error))


def _is_printed_by_logging(text: str) -> bool:
    """Tell whether a critical message of this app's logger appears where this command prints."""
    logger = logging.getLogger("ontraport_connect")
    record = logging.LogRecord(logger.name, logging.CRITICAL, "", 0, text, None, None)
    if not (logger.isEnabledFor(record.levelno) and logger.filter(record)):
        return False
    handlers: list[logging.Handler | None] = [*_handlers_of(logger)]
    return any(
        isinstance(handler, logging.StreamHandler)
        and handler.stream in (sys.stdout, sys.stderr)
        and handler.level <= record.levelno
        and bool(handler.filter(record))
        for handler in handlers or [logging.lastResort]
    )


def _handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    current: logging.Logger | None = logger
    while current is not None:
        yield from current.handlers
        current = current.parent if current.propagate else None


def words_for(code: str) -> str:
    if code.startswith("http_5"):
        return "got no usable answer from Ontraport"
    return WORDS.get(code, f"failed ({code})")


def summarize(outcomes: Mapping[str, int]) -> str:
    """Return the outcomes in words, such as "20 refreshed, 5 could not reach Ontraport"."""
    counts: dict[str, int] = {}
    for code, count in outcomes.items():
        counts[words_for(code)] = counts.get(words_for(code), 0) + count
    return ", ".join(f"{count} {words}" for words, count in counts.items())


def is_unreachable(*outcomes: Mapping[str, int]) -> bool:
    """Tell whether there were outcomes, and none of them was an answer of Ontraport's."""
    codes = [code for each in outcomes for code in each]
    return bool(codes) and all(words_for(code) in UNREACHABLE for code in codes)


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def iso(moment: datetime | None) -> str | None:
    """Return the one format in which JSON has times: ISO 8601 in UTC, with the zone."""
    return None if moment is None else aware(moment).astimezone(UTC).isoformat(timespec="seconds")


def wrapped(text: str, indent: int) -> list[str]:
    """Return the text as lines of at most ``WIDTH`` columns, all but the first indented. Addresses and names are not broken."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def encodable(text: str, stream: Any) -> str:
    """Return the text with what the stream cannot encode escaped, so that a name cannot end a command on an ASCII terminal."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


class ProgressLine:
    """Writes progress: it overwrites one line on a terminal, and writes a line each time elsewhere. ``last`` is what it said last."""

    def __init__(self, stream: OutputWrapper, *, is_silent: bool = False) -> None:
        self.stream = stream
        self.is_silent = is_silent
        self.last = ""

    def __call__(self, text: str) -> None:
        self.last = text
        if self.is_silent:
            return
        text = encodable(text, self.stream)
        if self.stream.isatty():
            width = shutil.get_terminal_size((WIDTH, 24)).columns - 1
            self._write(f"\r{text[:width]}\x1b[K", ending="")
            self.stream.flush()
        else:
            self._write(text)

    def clear(self) -> None:
        """Leave nothing behind on a terminal."""
        if self.stream.isatty() and not self.is_silent:
            self._write("\r\x1b[K", ending="")
            self.stream.flush()

    def _write(self, text: str, ending: str | None = None) -> None:
        self.stream.write(text, style_func=str, ending=ending)
