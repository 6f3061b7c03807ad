"""The database that the tests run on, chosen by TEST_DATABASE: SQLite in a file, or a PostgreSQL or MariaDB server started for this run.

The settings ask this module, because Django needs the database before the first test. The server is running by the time they get an answer.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.support.mariadb import MariaDB
from tests.support.servers import PostgreSQL, Unavailable

WANTED = os.environ.get("TEST_DATABASE", "sqlite")
SERVERS: dict[str, type[PostgreSQL | MariaDB]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}


class TestDatabase:
    """The database of this process. ``missing`` says why it is not the wanted one."""

    __test__ = False
    server: PostgreSQL | MariaDB | None = None
    missing = ""

    def entry(self) -> dict[str, Any]:
        """Return the entry for Django's ``DATABASES``."""
        if WANTED in SERVERS:
            try:
                return self.start(SERVERS[WANTED])
            except Unavailable as error:
                self.missing = f"{SERVERS[WANTED].__name__} cannot run here: {error}"
        directory = tempfile.mkdtemp(prefix="sqlite-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        return sqlite(Path(directory) / "test.sqlite3")

    def start(self, kind: type[PostgreSQL | MariaDB]) -> dict[str, Any]:
        self.server = kind()
        atexit.register(self.server.remove)
        self.server.start()
        return self.server.database()


def sqlite(file: Path) -> dict[str, Any]:
    """Return SQLite's entry as a site should have it: writers wait for each other instead of failing, and readers never wait."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(file),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
        "TEST": {"NAME": str(file)},
    }


test_database = TestDatabase()
