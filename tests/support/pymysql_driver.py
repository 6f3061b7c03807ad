"""A plugin of pytest (``-p tests.support.pymysql_driver``): Django finds PyMySQL, also where mysqlclient is installed."""

from __future__ import annotations

from importlib import import_module

import_module("pymysql").install_as_MySQLdb()
