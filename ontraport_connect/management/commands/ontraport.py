"""``manage.py ontraport``: the operator's command line.

Exit status: 0 success; 1 a problem, named in the last line; 2 wrong usage; 75 a temporary failure (sysexits.h), try again later; 130
and 143 stopped by Ctrl-C (SIGINT) and SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from ontraport_connect import staff
from ontraport_connect.database import autocommitting
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.management import reports
from ontraport_connect.management.subcommands import (
    accounts,
    adopt_database,
    assign,
    check,
    disconnect,
    export,
    refresh,
    register,
    rotate_keys,
    sandbox,
)
from ontraport_connect.models import acting

SUBCOMMANDS = {
    "check": check,
    "accounts": accounts,
    "refresh": refresh,
    "disconnect": disconnect,
    "assign": assign,
    "export": export,
    "rotate-keys": rotate_keys,
    "register": register,
    "adopt-database": adopt_database,
    "sandbox": sandbox,
}


AFTER_A_STOP: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "refresh": refresh.after_a_stop,
    "rotate-keys": rotate_keys.after_a_stop,
    "disconnect": disconnect.after_a_stop,
    "register": register.after_a_stop,
    "sandbox": sandbox.after_a_stop,
}
"""What to say when a subcommand was stopped: what was done, and what was not. It is given the options and the last progress."""

LONGEST_LOOK = 3.0
"""Seconds in which that is found out. Signals are ignored meanwhile."""

READ_ONLY = frozenset({"check", "accounts", "export"})


class Stopped(SystemExit):
    """A signal asked the command to end."""


def ignore(number: int, frame: object) -> None:
    """Ignore a signal. With ``SIG_IGN`` Python complains of one that has arrived already, as Ctrl-C and SIGTERM do together."""


def stop(number: int, frame: object) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, ignore)
    raise Stopped(128 + number)


def words_after_a_stop(options: Mapping[str, Any], last: str) -> str:
    """Return one line, which is empty where nothing is to be said. A database that is away, or locked, has nothing to tell."""
    with suppress(DatabaseError, InterfaceError, TimeoutError), staff.time_limit(LONGEST_LOOK):
        if after := AFTER_A_STOP.get(options["subcommand"]):
            return after(options, last)
    return "Stopped. Nothing was changed." if options["subcommand"] in READ_ONLY else "Stopped."


def add_common_options(subparser: CommandParser) -> None:
    """Accept Django's common options after the subcommand, too. Its own parser has them before it, and lists them in its help."""

    def add(*names: str, **kwargs: Any) -> None:
        subparser.add_argument(*names, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kwargs)

    add("--settings")
    add("--pythonpath")
    add("-v", "--verbosity", type=int, choices=range(4))
    for flag in ("--traceback", "--no-color", "--force-color"):
        add(flag, action="store_true")


def run(options: Mapping[str, Any], progress: reports.Progress) -> reports.Report:
    """Run the subcommand. Where it failed because the database is away or not migrated, raise the ``OntraportError`` that says so."""
    try:
        report: reports.Report = SUBCOMMANDS[options["subcommand"]].run(options, progress)
    except (DatabaseError, InterfaceError):
        staff.require_database()
        raise
    return report


class Command(BaseCommand):
    help = "Manage this site's Ontraport connections."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
        for name, module in SUBCOMMANDS.items():
            subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
            subparser.add_argument("--json", action="store_true", help="print JSON for a machine")
            add_common_options(subparser)
            module.add_arguments(subparser)

    def run_from_argv(self, argv: list[str]) -> None:
        """Treat SIGTERM like Ctrl-C: answers to requests that were sent are awaited and saved before the process exits.

        A job in the background of a shell ignores Ctrl-C, and goes on doing so.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, stop)
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        line = reports.ProgressLine(self.stderr, is_silent=options["json"])
        try:
            with acting(lambda: "manage.py ontraport"), autocommitting():
                report = run(options, line)
        except Stopped:
            line.clear()
            if words := words_after_a_stop(options, line.last):
                self.stderr.write(words, style_func=str)
            raise
        except OntraportError as error:
            if options["json"]:
                self._write_json({"error": error.code, "message": str(error)})
            raise reports.as_command_error(error) from None
        finally:
            line.clear()
        if options["json"]:
            self._write_json(report.data)
        else:
            for each in report.lines:
                self._write_line(each)
        if report.problem:
            raise CommandError(report.problem, returncode=report.status)

    def _write_line(self, line: str | reports.Line) -> None:
        text = reports.encodable(line.text if isinstance(line, reports.Line) else line, self.stdout)
        self.stdout.write(getattr(self.style, line.style)(text) if isinstance(line, reports.Line) else text)

    def _write_json(self, data: Any) -> None:
        self.stdout.write(json.dumps(data, indent=2))
