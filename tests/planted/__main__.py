"""Plants each bug in a copy of the package and runs the test that must catch it.

    python -m tests.planted [WORD ...]

With words, only the bugs whose names contain one of them. The run fails when a test does not catch its bug, or when a bug can no longer be
planted because the code has changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.support.servers import PROJECT

from . import BUGS
from .bug import Bug

WORKERS = 2
PATIENCE = 120.0
"""Seconds after which a test counts as hanging. A bug that makes its test hang is not caught."""


def copy_project(folder: Path) -> None:
    for name in ("ontraport_connect", "example_project", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", folder)


def run(folder: Path, tests: Sequence[str]) -> int:
    """Run tests of the copy on SQLite and return pytest's exit status, or -1 when they hang."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *(f"tests/{test}" for test in tests),
    ]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**environ, "TEST_DATABASE": "sqlite"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return -1


def plant(folder: Path, bug: Bug) -> str:
    """Plant a bug, run its test, and return ``caught`` or what went wrong."""
    file = folder / "ontraport_connect" / f"{bug.module}.py"
    sound = file.read_text()
    if sound.count(bug.guard) != 1:
        return f"cannot be planted: its guard stands {sound.count(bug.guard)} times in {bug.module}.py"
    file.write_text(sound.replace(bug.guard, bug.undone))
    try:
        status = run(folder, [bug.test])
    finally:
        file.write_text(sound)
    return {0: "NOT CAUGHT", 1: "caught", -1: "HANGS"}.get(status, f"pytest ended with {status}")


def main(words: Sequence[str]) -> int:
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        folders: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            folder = Path(directory) / str(number)
            copy_project(folder)
            folders.put(folder)
        if run(Path(directory) / "0", sorted({bug.test for bug in bugs})):
            print("The tests fail without any bug planted.", file=sys.stderr)
            return 1

        def attempt(bug: Bug) -> str:
            folder = folders.get()
            try:
                started = time.monotonic()
                verdict = plant(folder, bug)
                print(f"{verdict:10} {time.monotonic() - started:5.1f} s  {bug.name}", flush=True)
                return verdict
            finally:
                folders.put(folder)

        with ThreadPoolExecutor(WORKERS) as threads:
            verdicts = list(threads.map(attempt, bugs))
    caught = verdicts.count("caught")
    print(f"{caught} of {len(bugs)} planted bugs were caught.")
    return int(caught < len(bugs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
