"""Columns whose texts are compared character by character, on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.expressions import Combinable

if TYPE_CHECKING:
    CharField = models.CharField[str | int | Combinable, str]
else:
    CharField = models.CharField


class ExactCharField(CharField):
    """A ``CharField`` for names that others gave, and for what decides who may see a row.

    MySQL and MariaDB compare text without case, accents and blanks at the end, as the database's default says: the tenant ``acme`` would
    get the links of ``Acme``. There, this column has a binary collation without padding. PostgreSQL and SQLite compare exactly anyway.
    """

    def db_parameters(self, connection: Any) -> dict[str, Any]:
        parameters: dict[str, Any] = {**super().db_parameters(connection)}
        if connection.vendor == "mysql":
            parameters["collation"] = exact_collation(connection)
        return parameters


def exact_collation(connection: Any) -> str:
    """Return the collation of MariaDB or MySQL (8.0.17 and later) that takes two texts for the same when all their characters are."""
    return "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"
