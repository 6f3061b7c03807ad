"""`python -m example_project.demo [--check]`."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from example_project.demo.check import walk
from example_project.demo.errors import DemoError
from example_project.demo.processes import Processes
from example_project.demo.services import Demo, Pace, start

STOPPING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
TO_WATCH = Pace(access_token_lifetime=60, beat=10, leeway=10)
TO_CHECK = Pace(access_token_lifetime=20, beat=2, leeway=3)

WELCOME = """
Harbour Street Coffee is open.

  The site      {site}
                sign in as  maya / demo   (or sam / demo)
  Ontraport     a sandbox stands in for it; when it asks, log in as  owner / sandbox
                watch it, break it: {sandbox}
  The admin     {site}admin/  (maya / demo)
  The commands  in another terminal, in this folder:
                ENV_FILE={env_file} {python} manage.py ontraport accounts
                (or check, refresh, …: manage.py ontraport --help)

Access tokens live {lifetime} seconds here and beat looks every {beat:.0f}, so the dashboard shows them being refreshed.
Ctrl-C stops everything.
"""


class Stopped(Exception):
    """A signal asked the demo to end."""


def ignore(number: int, frame: object) -> None:
    """Ignore a signal. With `SIG_IGN` Python complains of one that has arrived already, as Ctrl-C and SIGTERM do together."""


def stop(number: int, frame: FrameType | None) -> NoReturn:
    for each in STOPPING_SIGNALS:
        signal.signal(each, ignore)
    raise Stopped(signal.Signals(number).name)


def listen_for_signals() -> None:
    for number in STOPPING_SIGNALS:
        asked_to_survive = number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
        if not asked_to_survive:
            signal.signal(number, stop)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m example_project.demo",
        description="The example site with a stand-in for Ontraport, Valkey, a Celery worker and beat.",
    )
    parser.add_argument("--port", type=int, default=None, help="of the site (8000)")
    parser.add_argument("--sandbox-port", type=int, default=None, help="of the stand-in for Ontraport (8001)")
    parser.add_argument("--check", action="store_true", help="walk the whole way without a person, on free ports")
    options = parser.parse_args(given)
    if options.port is None:
        options.port = 0 if options.check else 8000
    if options.sandbox_port is None:
        options.sandbox_port = 0 if options.check else 8001
    return options


def welcome(demo: Demo) -> None:
    here = Path.cwd()
    python = Path(sys.executable)
    text = WELCOME.format(
        site=demo.site,
        sandbox=demo.sandbox,
        env_file=demo.env_file,
        python=python.relative_to(here) if python.is_relative_to(here) else python,
        lifetime=TO_WATCH.access_token_lifetime,
        beat=TO_WATCH.beat,
    )
    print(text, flush=True)


def keep_open(processes: Processes) -> NoReturn:
    while True:
        processes.raise_if_one_died()
        time.sleep(0.5)


def run(options: argparse.Namespace, directory: Path) -> int:
    began = time.monotonic()
    with Processes(directory) as processes:
        pace = TO_CHECK if options.check else TO_WATCH
        demo = start(processes, port=options.port, sandbox_port=options.sandbox_port, pace=pace)
        if options.check:
            return 0 if walk(demo, processes, began) else 1
        welcome(demo)
        keep_open(processes)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    listen_for_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="ontraport-demo-", ignore_cleanup_errors=True) as directory:
            return run(options, Path(directory))
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except Stopped as signal_name:
        print(f"\nStopped by {signal_name}; nothing is left running.", file=sys.stderr)
        return 1 if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
