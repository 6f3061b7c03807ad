"""Bugs in staff."""

from .bug import Bug

BUGS = [
    Bug(
        "the form that asks has more fields than the site takes",
        "staff/admin_actions",
        "max(1, min(MAX_DISCONNECTED, fields - FIELDS_BESIDE))",
        "MAX_DISCONNECTED",
        "staff/test_admin_sites.py::test_no_more_are_disconnected_at_once_than_the_form_may_have_fields",
    ),
    Bug(
        "a schedule that was imported counts as Celery's",
        "staff/background_jobs",
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
    Bug(
        "one run by hand counts as beat",
        "management/subcommands/refresh",
        "refreshing.record_command()",
        "refreshing.record_beat()",
        "staff/test_background_jobs.py::test_after_one_run_by_hand_nobody_claims_that_beat_or_a_worker_ran",
    ),
    Bug(
        "a run by hand hides that the workers have stopped",
        "staff/background_jobs",
        "Level.WARNING if pulse.age < LATELY else Level.OK",
        "Level.OK",
        "staff/test_background_jobs.py::test_a_run_by_hand_does_not_hide_that_the_workers_have_stopped",
    ),
    Bug(
        "a message that comes again makes the workers late",
        "tasks",
        " and not is_repeated",
        "",
        "refreshing/test_heartbeat.py::test_a_message_that_comes_again_makes_nothing_late",
    ),
    Bug(
        "an empty queue hides a long one",
        "refreshing/heartbeat",
        'now - before["at"] > WORST_OF',
        "True",
        "refreshing/test_heartbeat.py::test_the_latest_task_of_a_minute_stands_for_all",
    ),
    Bug(
        "a few tasks of others pass for a full queue",
        "staff/background_jobs",
        "max(1, 0 if worker.seen_at is None else worker.age // 60)",
        "1",
        "staff/test_background_jobs.py::test_what_workers_and_queue_say_is_explained",
    ),
    Bug(
        "workers of another project pass for ours",
        "management/asking_workers",
        " if any(each.split()[:1] == [TASK] for each in names)",
        "",
        "drill/test_queue.py::test_workers_of_somebody_else_are_not_taken_for_ours",
    ),
    Bug(
        "Ctrl-C ends a command with a traceback",
        "management/commands/ontraport",
        "signal.signal(number, stop)",
        "pass",
        "doors/test_stopping.py::test_the_stand_in_ends_without_a_word[the command alone-SIGINT]",
    ),
    Bug(
        "a mail backend that waits again while it closes is waited for",
        "staff/time_limits",
        "signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)",
        "signal.setitimer(signal.ITIMER_REAL, seconds)",
        "staff/test_notice_limits.py::test_limit_comes_again_for_what_goes_on_waiting",
    ),
    Bug(
        "a mail backend swallows the limit that ends it",
        "staff/time_limits",
        "class TimeIsUp(BaseException):",
        "class TimeIsUp(TimeoutError):",
        "staff/test_notice_limits.py::test_limit_is_no_exception_that_a_backend_swallows",
    ),
]
