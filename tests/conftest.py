"""Real servers as fixtures. A server that cannot run on this machine skips a test with the reason; in CI that is an error."""

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import connection
from django.test import override_settings

from ontraport_connect.protocol import close_connections
from ontraport_connect.refreshing import spent_tokens
from ontraport_connect.using import mcp_requests
from tests.measured import is_measured, measured_first, stop_measuring
from tests.support import quick_flush
from tests.support.databases import SERVERS, WANTED, test_database
from tests.support.mariadb import MariaDB
from tests.support.pgbouncer import PgBouncer
from tests.support.servers import PostgreSQL, Sandbox, Unavailable, Valkey
from tests.support.strict_server import StrictServer

pytest.register_assert_rewrite("tests.support.lifecycle_machine", "tests.support.lifecycle_linking")

IN_CI = bool(os.environ.get("CI"))


def pytest_configure() -> None:
    """Stop the servers when the run is ended with SIGTERM, as after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    flush.Command.handle = quick_flush.handle  # type: ignore[method-assign, assignment]


def pytest_report_header() -> str:
    return f"database: {test_database.missing or WANTED}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of behaviour that only other databases or sites have, instead of skipping them. Those that are measured come first."""
    others = {"sqlite", "postgresql", "mariadb", "server_database"} - {WANTED}
    if WANTED in SERVERS:
        others -= {"server_database"}
    if settings.SECURE_SSL_REDIRECT:
        others.add("plain_http")
    left_out = {item for item in items if any(item.get_closest_marker(name) for name in others)}
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = measured_first([item for item in items if item not in left_out], WANTED)


def pytest_collection_finish() -> None:
    """What is there before the first test stays, so the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not is_measured(item.nodeid, WANTED):
        stop_measuring()
    if test_database.missing:
        unavailable(test_database.missing)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a skipped test into a failure in CI."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("CI: nothing may be skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def unavailable(reason: object) -> NoReturn:
    if IN_CI:
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))


@pytest.fixture(scope="session", autouse=True)
def collected() -> None:
    """Collect static files for a site whose pages name them by their content."""
    if "Manifest" in settings.STORAGES["staticfiles"]["BACKEND"]:
        call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture(autouse=True)
def no_connection_outlives_its_test() -> Iterator[None]:
    """The process keeps its connections to Ontraport, and each test has another Ontraport."""
    yield
    mcp_requests.sessions.forget_all()
    close_connections()


@pytest.fixture(autouse=True)
def no_note_outlives_its_test() -> Iterator[None]:
    """The notes beside a SQLite database outlive the flush of its tables."""
    yield
    if WANTED == "sqlite":
        for uid in spent_tokens.uids():
            spent_tokens.forget_account(uid)


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(sandbox_process: Sandbox) -> Sandbox:
    """The stand-in for Ontraport, without faults, with its counts at zero and no grant of an earlier test alive."""
    sandbox_process.revoke()
    sandbox_process.reset()
    return sandbox_process


@pytest.fixture(scope="session")
def valkey_process() -> Iterator[Valkey]:
    try:
        server = Valkey()
        server.start()
    except Unavailable as error:
        unavailable(error)
    yield server
    server.remove()


@pytest.fixture
def valkey(valkey_process: Valkey) -> Valkey:
    """An empty Valkey: ``.url``, ``.stop()``, ``.start()``."""
    if valkey_process.process is None:
        valkey_process.start()
    valkey_process.flush()
    return valkey_process


@pytest.fixture
def pgbouncer(transactional_db: None) -> Iterator[PgBouncer]:
    """A pooler in front of the test database. For tests marked ``postgresql``."""
    try:
        server = PgBouncer({name: value for name, value in connection.settings_dict.items() if name != "TEST"})
    except Unavailable as error:
        unavailable(error)
    with server:
        yield server


@pytest.fixture
def database_server() -> PostgreSQL | MariaDB:
    """The server of the test database, to restart it. For tests marked ``server_database``, ``postgresql`` or ``mariadb``."""
    assert test_database.server is not None, "mark the test with pytest.mark.server_database"
    return test_database.server


@pytest.fixture
def postgresql(database_server: PostgreSQL | MariaDB) -> PostgreSQL:
    """The server of the test database. For tests marked ``postgresql``."""
    assert isinstance(database_server, PostgreSQL)
    return database_server


@pytest.fixture
def child_environ(transactional_db: None) -> Callable[..., dict[str, str]]:
    """Return the environment of a child process that runs this Django on the test's database, with settings of its own."""

    def environ(**settings: Any) -> dict[str, str]:
        entry = {name: value for name, value in connection.settings_dict.items() if name != "TEST"}
        handed_over = {"DATABASES": {"default": entry}, **settings}
        return {**os.environ, "TEST_SETTINGS": json.dumps(handed_over)}

    return environ


@pytest.fixture(scope="session")
def strict_thread() -> Iterator[StrictServer]:
    with StrictServer() as server:
        yield server


@pytest.fixture
def strict(strict_thread: StrictServer) -> Iterator[StrictServer]:
    """A token endpoint that ends a grant whose refresh token is used twice, with the settings that point the app at it."""
    strict_thread.reset()
    with override_settings(**strict_thread.settings):
        yield strict_thread
    strict_thread.release()
