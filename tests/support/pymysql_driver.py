"""A plugin of pytest: Django finds PyMySQL as its driver, also where mysqlclient is installed (``pytest -p tests.support.pymysql_driver``)."""

from __future__ import annotations

from importlib import import_module

import_module("pymysql").install_as_MySQLdb()
