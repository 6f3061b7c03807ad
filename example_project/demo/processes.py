"""Child processes that are started, watched and ended together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from example_project.demo.errors import DemoError

LOG_LINES = 15
SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 5.0


class Child:
    """One process and its log file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def raise_if_dead(self) -> None:
        """Raise `DemoError` with the end of the log when the process has ended."""
        if self.process.poll() is not None:
            raise self.failure(f"ended early (exit status {self.process.returncode})")

    def failure(self, what: str) -> DemoError:
        tail = "\n".join(f"  {line}" for line in self.output().splitlines()[-LOG_LINES:])
        return DemoError(f"{self.name} {what}. Its last words:\n{tail}")


class Processes:
    """A context manager that ends every process started inside it when it is left, and when this process is killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.children: list[Child] = []
        self.guard = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "example_project.demo.guard", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, module: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start ``python -m module`` in the group of the guard. Raises `DemoError` when a process has died."""
        self.raise_if_one_died()
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - modules that services.py names
                [sys.executable, "-m", *module],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=self.guard.pid,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def run(self, name: str, module: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run ``python -m module`` to its end. Raises `DemoError` unless its exit status is 0."""
        child = self.start(name, module, environment)
        if child.process.wait() != 0:
            child.raise_if_dead()
        self.children.remove(child)

    def wait_for(self, child: Child, ready: Callable[[], bool]) -> None:
        """Return when ``ready`` says so. Raises `DemoError` when a process dies or two minutes pass."""
        deadline = time.monotonic() + SECONDS_TO_START
        while not ready():
            self.raise_if_one_died()
            if time.monotonic() > deadline:
                raise child.failure(f"is not ready after {SECONDS_TO_START:.0f} seconds")
            time.sleep(0.05)

    def raise_if_one_died(self) -> None:
        for child in self.children:
            child.raise_if_dead()
        if self.guard.poll() is not None:
            raise DemoError("The process that ends the others was killed.")

    def stop(self) -> None:
        """End every child: first with SIGTERM, then the whole group with SIGKILL, guard and grandchildren included."""
        self.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while time.monotonic() < deadline and any(child.process.poll() is None for child in self.children):
            time.sleep(0.05)
        self.signal_group(signal.SIGKILL)
        for process in (self.guard, *(child.process for child in self.children)):
            process.wait()

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.guard.pid, number)
