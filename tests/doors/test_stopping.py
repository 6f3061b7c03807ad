"""Ctrl-C and SIGTERM end every long command with one line that says what was done and what was not, and never with a traceback."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from django.db import OperationalError, connection

from ontraport_connect.management.commands.ontraport import words_after_a_stop
from ontraport_connect.models import OntraportAccount
from tests.support.accounts import linked
from tests.support.servers import HOST, PROJECT, wait_until
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

Environ = Callable[..., dict[str, str]]
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def nothing_outlives_its_test() -> Iterator[None]:
    """What a failed test has left is killed, with what that has started."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    for child in psutil.Process().children(recursive=True):
        if child.pid not in before:
            child.kill()


def start(environ: Mapping[str, str], *arguments: str, stderr: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the command as a terminal does, with Ctrl-C not ignored, whatever started these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "django", "ontraport", *arguments],
            cwd=PROJECT,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def end(process: subprocess.Popen[str], number: signal.Signals) -> list[str]:
    """Send the signal, and return the lines on stderr. Nothing may be on stdout."""
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, ""), errors
    return errors.splitlines()


@contextmanager
def silent_server() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes requests and never answers."""
    with socket.create_server((HOST, 0)) as server:
        yield f"http://{HOST}:{server.getsockname()[1]}", server


@BOTH
@pytest.mark.parametrize("is_for_all", [False, True], ids=["the command alone", "the whole group, as a terminal does"])
def test_the_stand_in_ends_without_a_word(child_environ: Environ, number: signal.Signals, is_for_all: bool) -> None:
    process = start(child_environ(ONTRAPORT_ENDPOINTS="sandbox"), "sandbox", "--port", "0")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Sandbox ready at ")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    if is_for_all:
        for child in children:
            child.send_signal(number)
    assert end(process, number) == []
    assert psutil.wait_procs(children, timeout=30)[1] == []


IMPATIENT = """
import django
django.setup()
from ontraport_connect.management.commands import ontraport
from ontraport_connect.management.subcommands import sandbox
sandbox.GRACE = 0.1
ontraport.Command().run_from_argv(["manage.py", "ontraport", "sandbox", "--port", "0"])
"""


def test_a_stand_in_that_does_not_end_is_killed(child_environ: Environ) -> None:
    """It is stopped (SIGSTOP), so that it cannot see that it was asked to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT],
        cwd=PROJECT,
        env=child_environ(ONTRAPORT_ENDPOINTS="sandbox"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Sandbox ready at ")
    children = psutil.Process(process.pid).children(recursive=True)
    for child in children:
        child.suspend()
    assert end(process, signal.SIGTERM) == []
    assert psutil.wait_procs(children, timeout=30)[1] == []


@BOTH
def test_a_round_says_how_much_is_left(strict: StrictServer, child_environ: Environ, number: signal.Signals) -> None:
    for name in range(5):
        linked(f"g{name}")
    strict.behave(hold="after")
    process = start(child_environ(**strict.settings, ONTRAPORT_REFRESH_CONCURRENCY=1), "refresh", "--all")
    strict.wait_for_held(1)
    process.send_signal(number)
    strict.release()
    lines = end(process, number)
    left = OntraportAccount.objects.filter(version=0).count()
    assert lines == [f"Stopped. What was sent has been saved; still due: {left} accounts. The next run goes on."]
    assert (strict.requests, left) == (1, 4)


@BOTH
def test_one_refresh_says_that_its_answer_was_saved(
    strict: StrictServer, child_environ: Environ, number: signal.Signals
) -> None:
    account = linked("one")
    strict.behave(hold="after")
    process = start(child_environ(**strict.settings), "refresh", str(account.uid), "--json")
    strict.wait_for_held()
    process.send_signal(number)
    strict.release()
    assert end(process, number) == ["Stopped. If Ontraport had been asked already, its answer was saved."]
    assert OntraportAccount.objects.get().version == 1


def in_pipe(reader: int) -> int:
    count = array("i", [0])
    fcntl.ioctl(reader, termios.FIONREAD, count)
    return count[0]


@BOTH
def test_keys_that_are_rotated_in_part_stay_needed(
    strict: StrictServer, child_environ: Environ, number: signal.Signals
) -> None:
    """Its progress goes into a pipe that has room for one line, so that it cannot get to the end."""
    for name in range(300):
        linked(f"g{name}")
    line = "100 of 300 rows\n"
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"\n" * (size - len(line)))
    process = start(child_environ(), "rotate-keys", stderr=writer)
    os.close(writer)
    wait_until(lambda: in_pipe(reader) == size, "the first page to be written")
    process.send_signal(number)
    with os.fdopen(reader) as errors:
        lines = [each for each in errors.read().splitlines() if each]
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 128 + number
    shown, done = (re.search(r"(\d+) of 300 rows", each) for each in lines[-2:])
    assert shown is not None
    assert done is not None
    assert lines[-1].startswith(f"Stopped after {done[0]}. Run this again to go on, and keep all keys until then.")
    # A page that was done when the signal came may not have been shown: there was no room to say so.
    assert 0 <= int(done[1]) - int(shown[1]) <= 100


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("--all", "Stopped. Still connected: 2 accounts; not revoked yet: 0 grants. Run this again to go on."),
        ("one", "Stopped. The account is still connected."),
    ],
)
def test_who_stops_at_the_question_has_disconnected_nothing(
    strict: StrictServer, child_environ: Environ, which: str, words: str
) -> None:
    accounts = [linked("one"), linked("two")]
    argument = which if which == "--all" else str(accounts[0].uid)
    process = start(child_environ(**strict.settings), "disconnect", argument)
    assert process.stderr is not None
    asked = ""
    while not asked.endswith("[y/N] "):
        asked += process.stderr.read(1)
    assert end(process, signal.SIGINT)[-1] == words
    assert OntraportAccount.objects.count() == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check",), "Stopped. Nothing was changed."),
        (
            ("register", "--again", "--redirect-uri", "https://shop.example.com/ontraport/callback/"),
            "Stopped. Ontraport may have registered a client whose secret nobody has seen; run this again for another one.",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_that_waits_for_a_server_can_be_stopped(
    child_environ: Environ, arguments: tuple[str, ...], words: str
) -> None:
    with silent_server() as (url, server):
        endpoints = {
            "issuer": url,
            **{
                f"{name}_endpoint": f"{url}/{name}" for name in ("authorization", "token", "revocation", "registration")
            },
        }
        process = start(child_environ(ONTRAPORT_ENDPOINTS=endpoints, ONTRAPORT_TIMEOUT=[60, 60]), *arguments)
        connected, _ = server.accept()
        with connected:
            assert end(process, signal.SIGINT)[-1] == words


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c(strict: StrictServer, child_environ: Environ) -> None:
    linked("one")
    strict.behave(hold="after")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "ontraport", "refresh", "--all"],
            cwd=PROJECT,
            env=child_environ(**strict.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    strict.wait_for_held()
    process.send_signal(signal.SIGINT)
    strict.release()
    assert process.communicate(timeout=60)[0] == "1 account due: 1 refreshed.\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [("refresh", "Stopped."), ("assign", "Stopped."), ("accounts", "Stopped. Nothing was changed.")],
)
def test_a_database_that_is_away_keeps_nobody_from_stopping(name: str, words: str) -> None:
    def away(*arguments: Any) -> Any:
        raise OperationalError("the database is away")

    with connection.execute_wrapper(away):
        assert words_after_a_stop({"subcommand": name, "uid": None}, "") == words


def test_an_account_that_is_gone_is_disconnected(strict: StrictServer) -> None:
    account = linked("one")
    account.delete()
    options = {"subcommand": "disconnect", "all": False, "uid": account.uid}
    assert words_after_a_stop(options, "") == "Stopped. The account is disconnected."


TWO_SIGNALS_AT_ONCE = """
import os, signal, time
from {module} import Stopped, stop
both = {{signal.SIGINT, signal.SIGTERM}}
try:
    for number in both:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for number in both:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
    time.sleep(60)
except Stopped:
    print("stopped")
"""


@pytest.mark.parametrize(
    "module",
    [
        "ontraport_connect.management.commands.ontraport",
        "ontraport_connect.sandbox.server.process",
        "example_project.demo.__main__",
    ],
)
def test_two_signals_at_once_stop_it_without_a_traceback(child_environ: Environ, module: str) -> None:
    """Ctrl-C in a terminal reaches the stand-in, and the command that has started it, which then asks it to end."""
    code = "import django; django.setup()" + TWO_SIGNALS_AT_ONCE.format(module=module)
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=PROJECT, env=child_environ(), capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "stopped\n", "")
