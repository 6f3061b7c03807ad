"""Bugs in whose rows are seen, and what may be written to them."""

from .bug import Bug

BUGS = [
    Bug(
        "with AUTOCOMMIT off nobody commits what a job writes",
        "models/own_connection",
        '    own.settings_dict["AUTOCOMMIT"] = True',
        "    pass",
        "doors/test_tasks.py::test_with_autocommit_off_what_a_job_writes_is_committed",
    ),
    Bug(
        "MySQL's number of an error is read only where there is no SQLSTATE",
        "database",
        "    return first if isinstance(first, int) else ",
        "    return ",
        "models/test_database.py::test_each_driver_says_in_its_way_that_a_row_is_locked",
    ),
    Bug(
        "everybody sees the links of everybody",
        "models/account",
        'return rows.filter(user=user, tenant="")',
        'return rows.filter(tenant="")',
        "pages/test_views.py::test_an_account_of_somebody_else_is_not_found_and_not_changed",
    ),
    Bug(
        "a row of another model is taken for the user with its number",
        "models/people",
        "is_authenticated(user) and is_user(user) and is_active(user)",
        "is_authenticated(user) and is_active(user)",
        "journeys/test_who_is_signed_in.py::test_what_is_no_user_of_this_site_owns_no_links",
    ),
    Bug(
        "a user without a key owns the links of nobody",
        "models/people",
        " and user.pk is not None",
        "",
        "journeys/test_who_is_signed_in.py::test_what_is_no_user_of_this_site_owns_no_links",
    ),
    Bug(
        "support whom a middleware has put in the customer's place passes for the customer",
        "models/impersonation",
        "if signed_in and signed_in != user._meta.pk.value_to_string(user):",
        "if False:",
        "models/test_impersonation.py::test_the_history_says_whose_session_it_is_where_a_middleware_puts_somebody_else_in_place",
    ),
    Bug(
        "a stale secret is written in bulk",
        "models/account",
        "        if refused := {*fields} & {*SECRET_FIELDS}:\n",
        "        if refused := {*fields} & set():\n",
        "encryption/test_writes.py::test_bulk_update_keeps_what_stands_and_refuses_plain_text",
    ),
    Bug(
        "the history keeps a person from being deleted in the admin",
        "models/person_key",
        "        SET_NULL(collector, field, events, using)",
        "        CASCADE(collector, field, events, using)",
        "staff/test_personal_data.py::test_support_deletes_a_person_in_the_admin",
    ),
    Bug(
        "a time without a zone is taken for one that has one",
        "models/clock",
        "return stored if timezone.is_aware(stored) else",
        "return stored if True else",
        "journeys/test_time_zones.py::test_the_pages_of_a_person",
    ),
    Bug(
        "support that is signed in as a customer passes for the customer",
        "models/impersonation",
        ' or next(_marked(request), "")',
        "",
        "models/test_impersonation.py::test_the_history_says_who_is_signed_in_as_a_customer",
    ),
]
