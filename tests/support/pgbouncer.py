"""A pgbouncer in front of the tests' PostgreSQL, from the system's packages: its clients share one connection, a transaction each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from tests.support.mariadb import program
from tests.support.servers import HOST, Process, Server


class PgBouncer(Server):
    """``entry`` is the database as Django's settings name it."""

    name = "pgbouncer"

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.program = program("pgbouncer", "pgbouncer")
        super().__init__()
        self._entry = entry
        self.system_user = "nobody" if os.geteuid() == 0 else None

    @property
    def entry(self) -> dict[str, Any]:
        """The same database through the pooler."""
        return {**self._entry, "HOST": HOST, "PORT": self.port, "DISABLE_SERVER_SIDE_CURSORS": True}

    def launch(self) -> Process:
        configuration = self.directory / "pgbouncer.ini"
        configuration.write_text(
            "[databases]\n"
            f"* = host={self._entry['HOST']} port={self._entry['PORT']}"
            f" user={self._entry['USER']} password={self._entry['PASSWORD']}\n"
            "[pgbouncer]\n"
            f"listen_addr = {HOST}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n"
        )
        if self.system_user:
            for path in (self.directory, configuration):
                shutil.chown(path, self.system_user)
        configuration.chmod(0o600)
        return Process(
            self.program, configuration, log=self.directory / "log", cwd=self.directory, user=self.system_user
        )
