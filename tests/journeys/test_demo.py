"""`python -m example_project.demo`, run as a newcomer runs it: in a process of its own, over real HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from example_project.demo.__main__ import WELCOME
from ontraport_connect.conf import OntraportSettings
from ontraport_connect.management.commands.ontraport import SUBCOMMANDS

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 120
SECONDS_TO_END = 30

ENDPOINTS = {"issuer": "https://login.example.com", "token_endpoint": "https://login.example.com/token"}
FROM_ENVIRONMENT = {
    "ONTRAPORT_AFTER_LINK_URL": ("/done/", "/done/"),
    "ONTRAPORT_CA_BUNDLE": ("/etc/ssl/company.pem", "/etc/ssl/company.pem"),
    "ONTRAPORT_CLIENT_ID": ("shop", "shop"),
    "ONTRAPORT_CLIENT_SECRET": ("s3cret", "s3cret"),
    "ONTRAPORT_ENCRYPTION_KEYS": ("new,old", ["new", "old"]),
    "ONTRAPORT_ENDPOINTS": (json.dumps(ENDPOINTS), ENDPOINTS),
    "ONTRAPORT_IDLE_AFTER": ("2592000", 2592000.0),
    "ONTRAPORT_INSTALLATION": ("production", "production"),
    "ONTRAPORT_KEEP_EVENTS": ("365", 365.0),
    "ONTRAPORT_LEEWAY": ("30", 30),
    "ONTRAPORT_MAY": ("shop.tenants.may", "shop.tenants.may"),
    "ONTRAPORT_MCP_TOOLS": ("get_objects,count_objects", ["get_objects", "count_objects"]),
    "ONTRAPORT_MCP_URL": ("https://mcp.example.com", "https://mcp.example.com"),
    "ONTRAPORT_MONITORING_TOKEN": ("s3same", "s3same"),
    "ONTRAPORT_NOTIFY": ("True", True),
    "ONTRAPORT_NOTIFY_CHANGES": ("False", False),
    "ONTRAPORT_PROXY": ("http://proxy.example.com:3128", "http://proxy.example.com:3128"),
    "ONTRAPORT_RATE_LIMIT": ("90,30", [90, 30.0]),
    "ONTRAPORT_RATE_WAIT": ("5", 5.0),
    "ONTRAPORT_REDIRECT_URI": ("https://shop.example.com/cb/", "https://shop.example.com/cb/"),
    "ONTRAPORT_REDIS_URL": ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
    "ONTRAPORT_REFRESH_CONCURRENCY": ("8", 8),
    "ONTRAPORT_REFRESH_MARGIN": ("300", 300),
    "ONTRAPORT_REFRESH_RATE": ("2.5", 2.5),
    "ONTRAPORT_RESOURCE": ("", None),
    "ONTRAPORT_REST_URL": ("https://api.example.com/1/", "https://api.example.com/1/"),
    "ONTRAPORT_SANDBOX_INTERNAL_URL": ("http://ontraport.localhost:9001", "http://ontraport.localhost:9001"),
    "ONTRAPORT_SANDBOX_URL": ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
    "ONTRAPORT_SCOPES": ("mcp:tools,more", ["mcp:tools", "more"]),
    "ONTRAPORT_SITE_NAME": ("Harbour Street Coffee", "Harbour Street Coffee"),
    "ONTRAPORT_TENANT": ("shop.tenants.of", "shop.tenants.of"),
    "ONTRAPORT_TIMEOUT": ("1,2.5", [1.0, 2.5]),
}

Demo = subprocess.Popen[str]


def run_demo(*options: str) -> Demo:
    """Start the demo as a terminal does: with no signal ignored, whatever started these tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "example_project.demo", *options],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
    finally:
        signal.signal(signal.SIGHUP, before)


def family(demo: Demo) -> list[psutil.Process]:
    """Return every process in the demo's session, whoever its parent is by now."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == demo.pid and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def read_until(demo: Demo, words: str) -> str:
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if words in line:
            return said
    pytest.fail(f"the demo ended before it said {words!r}: {said}")


def members(demo: Demo, word: str) -> list[psutil.Process]:
    """Return those processes of the family that were started with this word."""
    found = []
    for process in family(demo):
        with suppress(psutil.NoSuchProcess):
            if word in process.cmdline():
                found.append(process)
    return found


@contextmanager
def opened() -> Iterator[Demo]:
    """Run a demo on free ports, and check afterwards that nothing of it is left."""
    process = run_demo("--port", "0", "--sandbox-port", "0")
    try:
        yield process
    finally:
        for member in family(process):
            member.kill()
        process.communicate()


@pytest.fixture
def demo() -> Iterator[Demo]:
    """A demo that is ready for people."""
    with opened() as process:
        read_until(process, "Ctrl-C stops everything.")
        yield process


@pytest.fixture
def starting_demo() -> Iterator[Demo]:
    """A demo that has started its guard and its first part, and is starting the next."""
    with opened() as process:
        deadline = time.monotonic() + SECONDS_TO_START
        while not members(process, "ontraport_connect.sandbox"):
            assert time.monotonic() < deadline
        yield process


def test_the_whole_way_is_walked_by_check() -> None:
    demo = run_demo("--check")
    said, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, said
    steps = re.findall(r"^ok +\d+\.\d\d s  (.+)$", said, re.MULTILINE)
    assert steps[0] == "sandbox, Valkey, site, worker and beat started"
    assert "token rotated by beat and worker" in steps
    assert steps[-2:] == ["the grant is dead at Ontraport", "in all"]
    assert family(demo) == []


def test_ctrl_c_ends_everything(demo: Demo) -> None:
    assert len(family(demo)) > 6
    demo.send_signal(signal.SIGINT)
    assert demo.wait(SECONDS_TO_END) == 0
    assert family(demo) == []


def test_commands_are_tried_on_the_running_demo_as_it_says() -> None:
    settings = {"DEBUG", "DJANGO_SETTINGS_MODULE"}
    with opened() as demo:
        said = read_until(demo, "Ctrl-C stops everything.")
        found = re.search(r"ENV_FILE=(\S+) (\S+) (manage\.py ontraport accounts)$", said, re.MULTILINE)
        assert found, said
        tried = subprocess.run(
            [found[2], *found[3].split()],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in settings} | {"ENV_FILE": found[1]},
            capture_output=True,
            check=True,
            text=True,
        )
        assert tried.stdout == "There are no accounts.\n"


def test_the_commands_that_it_names_exist() -> None:
    named = re.search(r"\(or ([a-z, -]+), …", WELCOME)
    assert named, WELCOME
    assert {*named[1].split(", ")} <= SUBCOMMANDS.keys()


def test_a_clone_without_settings_says_what_to_set() -> None:
    settings = {"DEBUG", "SECRET_KEY", "DJANGO_SETTINGS_MODULE"}
    tried = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in settings} | {"ENV_FILE": ""},
        capture_output=True,
        check=False,
        text=True,
    )
    assert tried.returncode == 1
    assert tried.stderr == (
        "Set SECRET_KEY, or DEBUG=True on a laptop. To have a file for all settings: cp .env.example .env\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_what_has_started_so_far(starting_demo: Demo, number: signal.Signals) -> None:
    starting_demo.send_signal(number)
    assert starting_demo.wait(SECONDS_TO_END) == 0
    assert family(starting_demo) == []


def test_killing_the_demo_ends_everything(demo: Demo) -> None:
    processes = family(demo)
    demo.kill()
    _, survivors = psutil.wait_procs(processes, timeout=SECONDS_TO_END)
    assert survivors == []
    assert family(demo) == []


def test_a_part_that_dies_ends_everything_and_is_named(demo: Demo) -> None:
    [worker] = members(demo, "worker")
    worker.kill()
    said, _ = demo.communicate(timeout=SECONDS_TO_END)
    assert demo.returncode == 1
    assert "worker ended early (exit status -9). Its last words:" in said
    assert family(demo) == []


def test_nothing_runs_without_the_guard(starting_demo: Demo) -> None:
    [guard] = members(starting_demo, "example_project.demo.guard")
    guard.kill()
    said, _ = starting_demo.communicate(timeout=SECONDS_TO_START)
    assert starting_demo.returncode == 1
    assert said == "The process that ends the others was killed.\n"
    assert family(starting_demo) == []


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
def test_a_taken_port_is_one_line(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = run_demo("--port", "0", "--sandbox-port", "0", option, str(port))
        said, _ = demo.communicate(timeout=SECONDS_TO_START)
    assert demo.returncode == 1
    assert said == f"Port {port} is taken: choose others with --port and --sandbox-port.\n"
    assert family(demo) == []


def test_every_setting_is_read_from_the_environment_under_its_name() -> None:
    texts = {name: text for name, (text, _) in FROM_ENVIRONMENT.items()}
    script = "import json, example_project.settings as s; print(json.dumps({n: getattr(s, n) for n in %r}))"
    said = subprocess.run(
        [sys.executable, "-c", script % sorted(texts)],
        cwd=ROOT,
        env=os.environ | texts | {"ENV_FILE": "", "SECRET_KEY": "secret"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert json.loads(said) == {name: value for name, (_, value) in FROM_ENVIRONMENT.items()}
    assert {name for name in vars(OntraportSettings) if name.startswith("ONTRAPORT_")} <= set(FROM_ENVIRONMENT)
    explained = (ROOT / ".env.example").read_text()
    assert [name for name in texts if f"# {name}=" not in explained] == []
