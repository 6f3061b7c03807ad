"""Ask the operator before something is done that cannot be undone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from ontraport_connect.management.reports import USAGE, encodable


def ask(options: Mapping[str, Any], question: str, *explanations: str) -> None:
    """Ask on stderr, unless ``--yes`` was given. Raises ``CommandError`` unless the answer on stdin is yes.

    Whether stdin is a terminal makes no difference: the end of a pipe or of ``/dev/null`` means no.
    """
    if options["yes"]:
        return
    if options["json"]:
        raise CommandError("With --json nobody can be asked: add --yes.", returncode=USAGE)
    stream = options.get("stderr") or sys.stderr
    stream.write(encodable("".join(f"{text}\n" for text in explanations) + f"{question} [y/N] ", stream))
    stream.flush()
    answer = sys.stdin.readline()
    if not (sys.stdin.isatty() and answer.endswith("\n")):  # no terminal has shown a line break
        stream.write("\n")
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandError("Nothing changed.")
