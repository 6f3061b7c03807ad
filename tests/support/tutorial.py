"""Somebody who follows a tutorial to the letter: types its commands, writes its files, and compares what it promises to be printed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.doc_pages import DOCS, FENCE
from tests.support.servers import Process, foreign_environ

LASTING = re.compile(r"^python manage\.py (?:runserver|ontraport sandbox)\b")
"""Commands that run until they are stopped."""

PATIENCE = 60.0
"""Seconds for what a lasting command promises to print."""

INSTALL = re.compile(r"\"django-ontraport-connect(\[[\w,]+\])\"")
FILE = re.compile(r"# ([\w/.]+), (at the end|all of it)\n")


class Follower:
    """Follows ``docs/PAGE`` in an empty folder, with the wheel in place of the package index."""

    def __init__(self, page: str, folder: Path, wheel: Path) -> None:
        self.text = (DOCS / page).read_text()
        self.folder, self.wheel = folder, wheel
        environ = {name: value for name, value in foreign_environ().items() if not name.startswith("PYTHON")}
        self.environ: Mapping[str, str] = {**environ, "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{environ['PATH']}"}
        self.started: list[Process] = []

    def sections(self) -> Iterator[str]:
        """Yield the numbered sections, each with its heading."""
        return (section for section in self.text.split("\n## ") if re.match(r"\d+\. ", section))

    def follow(self, section: str) -> None:
        for block in FENCE.finditer(section):
            if block[2] == "console":
                self.type(block[3])
            elif block[2] == "python":
                self.write(block[3])

    def write(self, block: str) -> None:
        head = FILE.match(block)
        assert head is not None, f"which file is this?\n{block}"
        file = self.folder / head[1]
        before = file.read_text() if head[2] == "at the end" else ""
        file.write_text(before + block)

    def type(self, block: str) -> None:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, promised = part.partition("\n")
            if LASTING.match(command):
                self.start(command, promised)
            elif not command.startswith(". venv"):
                printed = self.run(command)
                missing = [line for line in promised.splitlines() if line and line not in printed]
                assert missing == [], f"{command} printed\n{printed}"

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", INSTALL.sub(rf'"{self.wheel}\1"', command)],
            check=False,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str, promised: str) -> None:
        arguments = command.split()[1:] + (["--noreload"] if "runserver" in command else [])
        python, log = self.folder / "venv" / "bin" / "python", self.folder / f"{len(self.started)}.log"
        self.started.append(Process(python, *arguments, log=log, cwd=self.folder, environ=self.environ))
        for line in promised.splitlines():
            self.started[-1].wait_for_line(f"^{re.escape(line)}$", PATIENCE)

    def stop(self) -> None:
        for process in self.started:
            process.stop()
