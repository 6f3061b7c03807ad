"""``manage.py ontraport``: what an operator does with the links of a site.

Exit status: 0 all is well; 1 something is not, and the last line says what; 2 wrong usage; 75 try again later.
"""

from __future__ import annotations

import json
import signal
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ontraport_connect.exceptions import OntraportError
from ontraport_connect.management import reports
from ontraport_connect.management.subcommands import (
    accounts,
    adopt_database,
    check,
    disconnect,
    refresh,
    register,
    rotate_keys,
)

SUBCOMMANDS = {
    "check": check,
    "accounts": accounts,
    "refresh": refresh,
    "disconnect": disconnect,
    "rotate-keys": rotate_keys,
    "register": register,
    "adopt-database": adopt_database,
}


def end(number: int, frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


class Command(BaseCommand):
    help = "Look after the Ontraport links of this site."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
        for name, module in SUBCOMMANDS.items():
            subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
            subparser.add_argument("--json", action="store_true", help="print JSON for a machine")
            module.add_arguments(subparser)

    def run_from_argv(self, argv: list[str]) -> None:
        """From the command line, SIGTERM ends it as Ctrl-C does: what was sent to Ontraport is waited for, and saved."""
        signal.signal(signal.SIGTERM, end)
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        progress = (lambda text: None) if options["json"] else reports.progress_on(self.stderr)
        try:
            report = SUBCOMMANDS[options["subcommand"]].run(options, progress)
        except OntraportError as error:
            if options["json"]:
                self._write_json({"error": error.code, "message": str(error)})
            raise reports.as_command_error(error) from None
        if options["json"]:
            self._write_json(report.data)
        else:
            self.stdout.writelines(f"{line}\n" for line in report.lines)
        if report.problem:
            raise CommandError(report.problem, returncode=report.status)

    def _write_json(self, data: Any) -> None:
        self.stdout.write(json.dumps(data, indent=2, default=str))
