"""Bugs in staff."""

from .bug import Bug

BUGS = [
    Bug(
        "a copy of the database writes e-mails",
        "staff/notices",
        " or not refreshing.is_own_database()",
        "",
        "journeys/test_copied_site.py::test_nobody_is_written_to",
    ),
]
