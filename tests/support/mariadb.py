"""A MariaDB server for the tests, from the system's packages: a process with data, socket and port of its own."""

import os
import secrets
import shutil
import signal
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.servers import HOST, Process, Server, Unavailable

ADMIN_FOLDERS = "/usr/sbin:/usr/local/sbin"
"""Where a distribution puts servers; not every user has these folders on the path."""


class MariaDB(Server):
    """MariaDB as it comes, in a time zone of its own: it compares text without case and accents, and its clock is not UTC's."""

    name = "mariadb"
    user = "ontraport"
    fast_shutdown, crash = signal.SIGTERM, signal.SIGKILL
    two_restarts = "40"  # seconds, with work in between
    time_zone = "-06:00"

    def __init__(self) -> None:
        use_driver()
        self.server, self.installer = (
            program("mariadbd", "mariadb-server"),
            program("mariadb-install-db", "mariadb-server"),
        )
        super().__init__()
        self.password = secrets.token_urlsafe(16)
        self.system_user = "nobody" if os.geteuid() == 0 else None
        self.data = self.directory / "data"
        if self.system_user:
            shutil.chown(self.directory, self.system_user)

    def initialise(self) -> None:
        first = self.directory / "first.sql"
        first.write_text(
            f"CREATE OR REPLACE USER '{self.user}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{self.user}'@'%';\n"
        )
        if self.system_user:
            shutil.chown(first, self.system_user)
        first.chmod(0o600)
        done = subprocess.run(
            [self.installer, "--no-defaults", f"--datadir={self.data}", "--skip-test-db"],
            check=False,
            cwd=self.directory,
            capture_output=True,
            text=True,
            user=self.system_user,
        )
        if done.returncode:
            raise Unavailable(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")

    def launch(self) -> Process:
        if not self.data.exists():
            self.initialise()
        settings = {
            "datadir": self.data,
            "bind-address": HOST,
            "port": self.port,
            "socket": self.directory / "socket",
            "pid-file": self.directory / "pid",
            "init-file": self.directory / "first.sql",
            "default-time-zone": self.time_zone,
            "character-set-server": "utf8mb4",
            "collation-server": "utf8mb4_general_ci",
            "max-connections": 300,
            # The data need not survive a power cut. A killed server still recovers it.
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-doublewrite": 0,
            "innodb-flush-method": "nosync",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return Process(
            self.server,
            "--no-defaults",
            *options,
            log=self.directory / "log",
            cwd=self.directory,
            user=self.system_user,
        )

    def database(self) -> dict[str, Any]:
        """Return the entry for Django's ``DATABASES``."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "ontraport_connect",
            "USER": self.user,
            "PASSWORD": self.password,
            "HOST": HOST,
            "PORT": self.port,
            "OPTIONS": {"charset": "utf8mb4"},
        }


def use_driver() -> None:
    """Let Django find a driver: mysqlclient where it could be built, otherwise PyMySQL under its name."""
    if find_spec("MySQLdb") is not None:
        return
    if find_spec("pymysql") is None:
        raise Unavailable("neither mysqlclient nor PyMySQL is installed")
    import_module("pymysql").install_as_MySQLdb()


def program(name: str, package: str) -> Path:
    path = shutil.which(name) or shutil.which(name, path=ADMIN_FOLDERS)
    if path is None:
        raise Unavailable(f"{name} is not installed (on Debian: apt-get install {package})")
    return Path(path)
