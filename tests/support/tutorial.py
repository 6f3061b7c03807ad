"""Somebody who follows a tutorial to the letter: types its commands, writes its files, and compares what it promises to be printed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.doc_pages import DOCS, FENCE
from tests.support.servers import PROJECT, Process, foreign_environ

LASTING = re.compile(r"^python (?:manage\.py (?:runserver|ontraport sandbox)|-m example_project\.sandbox)\b")
"""Commands that run until they are stopped."""

IN_A_CLONE = re.compile(r"^(?:python -m example_project\.|python -m pip install \"\.\[|python3 -m venv \.venv)")
"""Commands for a clone of the repository, which the environment of the tests is ready for."""

INSTALL = re.compile(r"\"django-ontraport-connect(\[[\w,]+\])\"")
FILE = re.compile(r"# ([\w/.]+), (at the end|all of it)\n")


class Follower:
    """Follows ``docs/PAGE`` in an empty folder, with the wheel in place of the package index."""

    def __init__(self, page: str, folder: Path, wheel: Path, python: Path) -> None:
        self.text = (DOCS / page).read_text()
        self.folder, self.wheel = folder, wheel
        environ = {name: value for name, value in foreign_environ().items() if not name.startswith("PYTHON")}
        self.environ: Mapping[str, str] = {**environ, "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{environ['PATH']}"}
        self.python = python
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
                self.start(command)
            elif not command.startswith(". venv") and not IN_A_CLONE.match(command):
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

    def start(self, command: str) -> None:
        in_clone = IN_A_CLONE.match(command) is not None
        python = self.python if in_clone else self.folder / "venv" / "bin" / "python"
        arguments = command.split()[1:] + (["--noreload"] if "runserver" in command else [])
        log = self.folder / f"{len(self.started)}.log"
        folder = PROJECT if in_clone else self.folder
        self.started.append(Process(python, *arguments, log=log, cwd=folder, environ=self.environ))

    def stop(self) -> None:
        for process in self.started:
            process.stop()
