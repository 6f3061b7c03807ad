"""Bugs in whose rows are seen, and what may be written to them."""

from .bug import Bug

BUGS = [
    Bug(
        "everybody sees the links of everybody",
        "models/account",
        'return rows.filter(user=user, tenant="")',
        'return rows.filter(tenant="")',
        "pages/test_views.py::test_an_account_of_somebody_else_is_not_found_and_not_changed",
    ),
    Bug(
        "a stale secret is written in bulk",
        "models/account",
        "        if refused := {*fields} & {*SECRET_FIELDS}:\n",
        "        if refused := {*fields} & set():\n",
        "encryption/test_writes.py::test_bulk_update_keeps_what_stands_and_refuses_plain_text",
    ),
    Bug(
        "support that is signed in as a customer passes for the customer",
        "models/impersonation",
        ' or next(_marked(request), "")',
        "",
        "models/test_impersonation.py::test_the_history_says_who_is_signed_in_as_a_customer",
    ),
]
