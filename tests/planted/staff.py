"""Bugs in staff."""

from .bug import Bug

BUGS = [
    Bug(
        "a schedule that was imported counts as Celery's",
        "staff/keeping_up",
        ' and name != "BEAT_SCHEDULE"',
        "",
        "doors/test_check_thresholds.py::test_a_schedule_without_our_entry_is_a_system_check",
    ),
    Bug(
        "a copy of the database writes e-mails",
        "staff/notices",
        " or not refreshing.is_own_database()",
        "",
        "journeys/test_copied_site.py::test_nobody_is_written_to",
    ),
]
