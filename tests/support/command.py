"""``manage.py ontraport``, run in this process."""

from __future__ import annotations

import io
import json
from typing import Any

from django.core.management import CommandError, call_command


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Run:
    """One run of the command: its output, its progress and its exit status."""

    def __init__(
        self, *arguments: str, stdout: Any = None, stderr: io.StringIO | None = None, no_color: bool = True
    ) -> None:
        out, self.errors = stdout or io.StringIO(), stderr or io.StringIO()
        self.problem, self.status = "", 0
        try:
            call_command(
                "ontraport", *arguments, stdout=out, stderr=self.errors, no_color=no_color, force_color=not no_color
            )
        except CommandError as error:
            self.problem, self.status = str(error), error.returncode
        self.output = out.getvalue() if isinstance(out, io.StringIO) else ""
        self.progress = self.errors.getvalue()

    @property
    def data(self) -> Any:
        return json.loads(self.output)

    @property
    def text(self) -> str:
        """The output without its line breaks."""
        return " ".join(self.output.split())
